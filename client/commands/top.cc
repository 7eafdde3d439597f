// SPDX-License-Identifier: Apache-2.0
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "client/commands/commands.h"
#include "client/commands/json.h"
#include "client/render/format.h"
#include "client/sleep.h"
#include "client/status.h"
#include "client/top/fetch.h"
#include "client/top/render_activity.h"

namespace mtm::client {
namespace {

constexpr size_t kIntervals =
    10;  // over which rates are taken: many requests end between two frames, or none

struct TopOptions {
  std::string metrics = "127.0.0.1:9464";
  double interval_seconds = 1;
  bool once = false;
};

// A frame over the one before, on a screen of its own that is gone afterwards; one below the other where that
// is no terminal.
class Screen {
 public:
  explicit Screen(Session& session) : session_(session) {
    if (is_terminal()) session_.out() << "\x1b[?1049h\x1b[?25l" << std::flush;  // other screen, no cursor
  }
  ~Screen() {
    if (is_terminal()) session_.out() << "\x1b[?25h\x1b[?1049l" << std::flush;
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void Draw(const std::string& frame) {
    if (!is_terminal()) {
      session_.out() << frame << "\n" << std::flush;
      return;
    }
    // Line by line over what stands there: nothing flickers.
    session_.out() << "\x1b[H" << absl::StrReplaceAll(frame, {{"\n", "\x1b[K\n"}}) << "\x1b[J" << std::flush;
  }

 private:
  bool is_terminal() const { return session_.env().terminal.out && !session_.json; }

  Session& session_;
};

std::string Frame(Session& session, const TopOptions& options, const Activity& activity) {
  const absl::Time now = absl::Now();
  return absl::StrCat(session.out_style().Bold(absl::StrCat("mtm top  ", options.metrics)), "  ",
                      absl::FormatTime("%H:%M:%S", now, absl::LocalTimeZone()), "\n",
                      RenderActivity(activity, now, session.out_width(), session.out_style()));
}

// Waits, then reads. CANCELLED: the user has interrupted.
absl::StatusOr<Scrape> NextScrape(Session& session, const TopOptions& options) {
  SleepUnlessStopped(absl::Seconds(options.interval_seconds), session.env().stop);
  if (session.env().stop.stop_requested()) return absl::CancelledError("interrupted");
  return FetchMetrics(options.metrics);
}

void Print(Session& session, const TopOptions& options, const Activity& activity, Screen* screen) {
  if (session.json) {
    session.out() << ToLine(ToJson(activity)) << std::flush;
  } else if (screen != nullptr) {
    screen->Draw(Frame(session, options, activity));
  } else {
    session.out() << Frame(session, options, activity);
  }
}

absl::Status Follow(Session& session, const TopOptions& options, Scrape first) {
  Screen screen(session);
  std::deque<std::pair<absl::Time, Scrape>> scrapes;
  scrapes.emplace_back(absl::Now(), std::move(first));
  while (session.out().good()) {
    auto now = NextScrape(session, options);
    if (absl::IsCancelled(now.status())) return now.status();
    if (!now.ok()) {  // it may be starting anew
      if (!session.json) screen.Draw(StatusText(now.status()) + "\n");
      continue;
    }
    const absl::Time at = absl::Now();
    const auto& [then, before] = scrapes.front();
    Print(session, options, ActivityBetween(before, *now, at - then), &screen);
    scrapes.emplace_back(at, *std::move(now));
    if (scrapes.size() > kIntervals) scrapes.pop_front();
  }
  return absl::OkStatus();  // what is wrong with the output is said once, at the end
}

absl::Status Top(Session& session, const TopOptions& options) {
  auto before = FetchMetrics(options.metrics);
  if (!before.ok()) return before.status();
  if (!options.once) return Follow(session, options, *std::move(before));
  const absl::Time then = absl::Now();
  const auto now = NextScrape(session, options);
  if (!now.ok()) return now.status();
  Print(session, options, ActivityBetween(*before, *now, absl::Now() - then), nullptr);
  return absl::OkStatus();
}

}  // namespace

void AddTopCommand(CLI::App& app, Session& session) {
  CLI::App& command = *app.add_subcommand("top", "Shows what a server does, anew each second, until ^C.");
  auto options = std::make_shared<TopOptions>();
  command
      .add_option("--metrics", options->metrics,
                  "where mtm_server --metrics-listen listens\n(default 127.0.0.1:9464)")
      ->envname("MTM_METRICS")
      ->type_name("ADDR");
  command.add_option("--interval", options->interval_seconds, "between two frames, 0.1 to 3600 (default 1)")
      ->check(CLI::Range(0.1, 3600.0).description(""))
      ->type_name("SECONDS");
  command.add_flag("--once", options->once, "one frame, of one interval, without taking the screen");
  command.footer(
      "Rates, shares and latencies are of the last ten intervals, with --once of one; - where there was\n"
      "nothing. Tokens, lookups and latencies count when their requests end. --json prints a line each\n"
      "interval.\n\n"
      "Examples:\n"
      "  mtm top\n"
      "  mtm top --metrics 10.0.0.5:9464 --interval 5\n"
      "  mtm top --once --json | jq .time_to_first_token_seconds.p95");
  SetRun(command, session, options, Top);
}

}  // namespace mtm::client
