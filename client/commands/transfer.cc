// SPDX-License-Identifier: Apache-2.0
// export and import.
#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/commands/export_file.h"
#include "client/commands/json.h"
#include "client/commands/progress_line.h"
#include "client/commands/write.h"
#include "client/options/annotations.h"
#include "client/render/format.h"

namespace mtm::client {
namespace {

struct ExportOptions {
  std::string reference;
  std::string file;
};

// What an export that broke off has left behind goes on where it ends, if it is of the same version.
absl::StatusOr<int64_t> ResumeAt(Session& session, ExportFile& part, const std::string& digest) {
  const auto size = part.Size();
  if (!size.ok() || *size == 0) return size;
  const auto begun = part.Digest();
  if (!begun.ok()) return begun.status();
  if (*begun == digest) {
    session.Note(absl::StrCat("going on after ", FormatBytes(*size)));
    return size;
  }
  if (absl::Status status = part.Truncate(); !status.ok()) return status;
  return 0;
}

absl::Status Export(Session& session, const ExportOptions& options) {
  // The version of now, whatever happens to the name meanwhile.
  const auto memory = session.client().GetMemory(options.reference, session.call_options());
  if (!memory.ok()) return memory.status();
  auto part = ExportFile::OpenForWriting(options.file + ".part");
  if (!part.ok()) return part.status();
  const auto offset = ResumeAt(session, **part, memory->digest());
  if (!offset.ok()) return offset.status();
  absl::Status status;
  {
    ProgressLine line(session, options.file, ProgressUnit::kBytes);
    status = session.client().ExportMemory(
        absl::StrCat(memory->name(), "@", memory->digest()), *offset,
        [&part](std::string_view data) { return (*part)->Append(data); }, line.callback(),
        session.call_options());
  }
  if (status.ok()) status = (*part)->Finish(options.file);
  if (!status.ok()) return status;
  const auto size = (*part)->Size();
  if (!size.ok()) return size.status();
  if (session.json) {
    session.out() << ToDocument({{"name", memory->name()},
                                 {"digest", memory->digest()},
                                 {"file", options.file},
                                 {"size_bytes", absl::StrCat(*size)}});
  } else {
    session.out() << options.file << ": " << memory->name() << ", " << FormatBytes(*size) << ", digest "
                  << ShortDigest(memory->digest()) << "\n";
  }
  return absl::OkStatus();
}

struct ImportOptions {
  std::string name;
  std::string file;
  AnnotationOptions annotations;
  RequestIdOption id;
};

absl::Status Import(Session& session, const ImportOptions& options) {
  const auto file = ExportFile::OpenForReading(options.file);
  if (!file.ok()) return file.status();
  const auto digest = (*file)->Digest();
  if (!digest.ok()) return digest.status();
  if (digest->empty()) {
    return absl::InvalidArgumentError(absl::StrCat(options.file, " is no exported memory"));
  }
  const auto size = (*file)->Size();
  if (!size.ok()) return size.status();
  v1::ImportMemoryRequest::Spec spec;
  spec.set_name(options.name);
  spec.set_digest(*digest);
  spec.set_total_bytes(*size);
  spec.set_request_id(options.id.request_id);
  if (absl::Status status = options.annotations.Fill(spec); !status.ok()) return status;
  absl::StatusOr<v1::Memory> memory;
  {
    ProgressLine line(session, options.name, ProgressUnit::kBytes);
    memory = session.client().ImportMemory(
        spec, [&file](int64_t offset) { return (*file)->Read(offset); }, line.callback(),
        session.call_options());
  }
  if (!memory.ok()) return memory.status();
  PrintMemory(session, *memory);
  return absl::OkStatus();
}

}  // namespace

void AddTransferCommands(CLI::App& app, Session& session) {
  CLI::App& out = *app.add_subcommand("export", "Writes a version of a memory to a file.");
  auto to = std::make_shared<ExportOptions>();
  out.add_option("NAME", to->reference, "the memory, as NAME or NAME@DIGEST")->required()->type_name("");
  out.add_option("FILE", to->file, "where to; there is nothing of this name before it is whole")
      ->required()
      ->type_name("");
  out.footer(
      "Written to FILE.part first. The same command goes on with it where it was broken off.\n\n"
      "Examples:\n"
      "  mtm export cats cats.mtm\n"
      "  mtm export cats cats.mtm && mtm --server other:50051 import cats cats.mtm");
  SetRun(out, session, to, Export);

  CLI::App& in =
      *app.add_subcommand("import", "Makes a memory out of an exported file, with the same digest.");
  auto from = std::make_shared<ImportOptions>();
  in.add_option("NAME", from->name, "the new name")->required()->type_name("");
  in.add_option("FILE", from->file, "what mtm export wrote")->required()->type_name("");
  from->annotations.AddTo(in);
  from->id.AddTo(in);
  in.footer(
      "The server keeps for a day what arrived of a broken import: the same command goes on from there.\n\n"
      "Examples:\n"
      "  mtm import cats cats.mtm\n"
      "  mtm import backup/cats cats.mtm --label from=export");
  SetRun(in, session, from, Import);
}

}  // namespace mtm::client
