#include "tests/wal/status_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tests/wal/stock_server.h"
#include "wal/slru_delta.h"
#include "wal/two_phase.h"

namespace varve::test {
namespace {

using wal::kSlruPagesPerSegment;
using wal::Slru;
using wal::SlruPage;

constexpr Slru kAll[] = {Slru::kClog, Slru::kCommitTimestamp, Slru::kMultiXactOffset,
                         Slru::kMultiXactMember};

// First pages of the segments that exist in `directory`.
std::vector<SlruPage> segments_in(const std::string& directory) {
  std::vector<SlruPage> segments;
  for (const Slru slru : kAll) {
    const std::string path = directory + "/" + wal::slru_directory(slru);
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      const auto segment = static_cast<uint32_t>(std::stoul(entry.path().filename(), nullptr, 16));
      segments.push_back({slru, segment * kSlruPagesPerSegment});
    }
  }
  return segments;
}

}  // namespace

void StatusFiles::load(const std::string& directory) {
  for (const SlruPage& first : segments_in(directory)) {
    const std::vector<uint8_t> file = read_file(directory + "/" + wal::slru_segment_path(first));
    for (size_t at = 0; at + kBlockSize <= file.size(); at += kBlockSize) {
      const SlruPage page{first.slru, first.page + static_cast<uint32_t>(at / kBlockSize)};
      const auto from = file.begin() + static_cast<std::ptrdiff_t>(at);
      pages_[page].assign(from, from + kBlockSize);
    }
  }
}

void StatusFiles::apply(const wal::Effect& effect) {
  std::vector<wal::SlruDelta> deltas;
  wal::split_slru_effect(effect, track_, deltas);
  for (const wal::SlruDelta& delta : deltas) {
    std::vector<uint8_t>& bytes = pages_[delta.page];
    bytes.resize(kBlockSize);
    const Status status =
        wal::apply_slru_delta(delta.page, delta.bytes, wal::SlruBytes(bytes.data(), kBlockSize));
    EXPECT_TRUE(status.ok()) << status.to_string();
  }
  removed_ += std::erase_if(
      pages_, [&](const auto& p) { return wal::slru_segment_is_removed(effect, p.first); });
  if (const auto* parameters = std::get_if<wal::ServerParameters>(&effect)) {
    track_ = parameters->track_commit_timestamp;
    // Switching it off removes the files.
    if (!track_)
      std::erase_if(pages_, [](const auto& p) { return p.first.slru == Slru::kCommitTimestamp; });
  }
  if (const auto* prepare = std::get_if<wal::TransactionPrepare>(&effect))
    prepared_[wal::two_phase_file_name(version_, prepare->xid)] = wal::two_phase_file(*prepare);
  if (const auto* end = std::get_if<wal::TransactionEnd>(&effect); end != nullptr && end->prepared)
    prepared_.erase(wal::two_phase_file_name(version_, end->xid));
}

size_t StatusFiles::compare(const std::string& directory) const {
  std::set<SlruPage> segments;
  for (const SlruPage& first : segments_in(directory)) segments.insert(first);
  for (const auto& [page, bytes] : pages_)
    segments.insert({page.slru, page.page - page.page % kSlruPagesPerSegment});
  size_t compared = 0;
  const std::vector<uint8_t> zero(kBlockSize);
  for (const SlruPage& first : segments) {
    const std::string path = directory + "/" + wal::slru_segment_path(first);
    std::vector<uint8_t> file;
    if (std::filesystem::exists(path)) file = read_file(path);
    file.resize(kSlruPagesPerSegment * kBlockSize);
    for (uint32_t i = 0; i < kSlruPagesPerSegment; ++i) {
      const auto ours = pages_.find({first.slru, first.page + i});
      const auto from = file.begin() + static_cast<std::ptrdiff_t>(i * kBlockSize);
      const bool equal =
          std::equal(from, from + kBlockSize, (ours == pages_.end() ? zero : ours->second).begin());
      EXPECT_TRUE(equal) << path << " page " << first.page + i;
      if (ours != pages_.end()) ++compared;
    }
  }
  EXPECT_EQ(compared, pages_.size());
  for (const auto& [name, bytes] : prepared_)
    EXPECT_EQ(bytes, read_file(directory + "/pg_twophase/" + name));
  return compared;
}

}  // namespace varve::test
