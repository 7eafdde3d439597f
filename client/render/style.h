// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_RENDER_STYLE_H_
#define MTM_CLIENT_RENDER_STYLE_H_

#include <string>

namespace mtm::client {

// Colours, or nothing where `colour` is false. Applied after texts are fitted: escapes have no width.
struct Style {
  bool colour = false;

  std::string Bold(const std::string& text) const { return Wrap("1", text); }
  std::string Dim(const std::string& text) const { return Wrap("2", text); }
  std::string Red(const std::string& text) const { return Wrap("31", text); }
  std::string Cyan(const std::string& text) const { return Wrap("36", text); }

 private:
  std::string Wrap(const char* code, const std::string& text) const {
    if (!colour || text.empty()) return text;
    return std::string("\x1b[") + code + "m" + text + "\x1b[0m";
  }
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_RENDER_STYLE_H_
