#include "tests/storage/stock_log.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "storage/client/methods.h"
#include "tests/storage/data_directory.h"
#include "tests/wal/stock_server.h"

namespace varve::test {
namespace {

wal::DecoderOptions decoder_options(uint64_t system_id) {
  wal::DecoderOptions options;
  options.identity = {wal::version_of_major(15), system_id, kWalSegmentSize};
  return options;
}

}  // namespace

Result<std::optional<storage::FilePiece>> ClusterSource::next() {
  if (at_ == files_.files.size()) return std::optional<storage::FilePiece>();
  const std::string& path = files_.files[at_].path;
  if (offset_ == 0) content_ = *files_.read(path);
  const size_t size = std::min(storage::kStreamPieceBytes, content_.size() - offset_);
  storage::FilePiece piece{path, offset_, content_.slice(offset_, size)};
  offset_ += size;
  if (offset_ == content_.size()) {
    ++at_;
    offset_ = 0;
  }
  return std::optional(std::move(piece));
}

StockLog::StockLog(std::string wal, uint64_t system_id, Lsn from, Lsn previous, Lsn end)
    : wal_(std::move(wal)), end_(end), decoder_(decoder_options(system_id)), taken_(from) {
  decoder_.reset(from, previous);
}

Bytes StockLog::next(uint64_t size) {
  std::vector<uint8_t> out = std::move(rest_);
  rest_.clear();
  Lsn boundary = taken_;
  while (boundary - taken_ < size && decoder_.fed_to() < end_) {
    const Lsn at = decoder_.fed_to();
    load(at);
    const uint64_t offset = at.value % kWalSegmentSize;
    const uint64_t left = std::min<uint64_t>({kWalSegmentSize - offset, end_ - at, size});
    const std::span<const uint8_t> bytes = std::span(segment_).subspan(offset, left);
    out.insert(out.end(), bytes.begin(), bytes.end());
    decoder_.feed(at, bytes);
    wal::Record record;
    while (decoder_.next(record) == wal::Step::kRecord) boundary = record.end;
    EXPECT_TRUE(decoder_.status().ok()) << decoder_.status().to_string();
  }
  const size_t whole = boundary - taken_;
  if (whole < out.size()) rest_.assign(out.begin() + static_cast<ptrdiff_t>(whole), out.end());
  out.resize(whole);
  taken_ = boundary;
  return Bytes::copy(out);
}

void StockLog::load(Lsn at) {
  const uint64_t number = at.segment(kWalSegmentSize);
  if (number == loaded_) return;
  segment_ = read_file(wal_ + "/" + wal::segment_file_name({1, number}, kWalSegmentSize));
  loaded_ = number;
}

}  // namespace varve::test
