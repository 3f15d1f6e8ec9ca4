#include "tools/oracle/corpus.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include "wal/decoder.h"
#include "wal/page.h"

namespace varve::oracle {
namespace {

bool read_file(const std::filesystem::path& path, std::vector<uint8_t>& bytes) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return false;
  bytes.resize(static_cast<size_t>(in.tellg()));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return in.good();
}

Status drain(wal::Decoder& decoder, const RecordSink& take, bool& ended) {
  wal::Record record;
  while (true) {
    switch (decoder.next(record)) {
      case wal::Step::kRecord:
        VARVE_TRY(take(*decoder.options().identity.version, record));
        break;
      case wal::Step::kNeedMore:
        return Status();
      case wal::Step::kEndOfWal:
        ended = true;
        return Status();
      case wal::Step::kCorrupt:
        return decoder.status();
    }
  }
}

}  // namespace

Status read_log(const std::string& directory, const RecordSink& take) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (wal::parse_segment_file_name(name, wal::kDefaultSegmentSize)) files.push_back(entry.path());
  }
  if (files.empty()) return Status(Code::kNotFound, "no WAL segments").with_object(directory);
  std::sort(files.begin(), files.end());

  std::vector<uint8_t> bytes;
  std::optional<wal::Decoder> decoder;
  bool ended = false;
  for (size_t i = 0; i < files.size() && !ended; ++i) {
    if (!read_file(files[i], bytes)) {
      return Status(Code::kNotFound, "can't be read").with_object(files[i].string());
    }
    if (!decoder) {
      VARVE_TRY_ASSIGN(const wal::LogIdentity identity, wal::identity_of_segment(bytes));
      decoder.emplace(wal::DecoderOptions{.identity = identity});
      const auto name =
          wal::parse_segment_file_name(files[i].filename().string(), identity.segment_size);
      if (!name)
        return Status(Code::kCorrupt, "not this segment's name").with_object(files[i].string());
      decoder->reset_to_page(Lsn(name->number * identity.segment_size));
    }
    decoder->feed(decoder->fed_to(), bytes);
    VARVE_TRY(drain(*decoder, take, ended));
  }
  return Status();
}

}  // namespace varve::oracle
