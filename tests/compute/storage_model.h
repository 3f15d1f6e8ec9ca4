// Storage, naively: reads a log from its start on, keeps every version of every page, and judges
// the log while it reads.
//
// The judgement is the point. sim/model_postgres.h writes transactions that add one to a page's
// counter, so along a right log each page's counters count up by one, no xid commits twice, and the
// records chain. A compute that began with a low next xid, read a stale page or wrote behind the
// wrong record shows here.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "compute/agent/services.h"
#include "compute/agent/testing/sample_manifest.h"
#include "sim/model_postgres.h"
#include "wal/decoder.h"
#include "wal/effects.h"
#include "wal/image.h"

namespace varve::test {

using compute::Manifest;
using compute::PageKey;
using compute::ServedPage;
using compute::testing::kSystemId;
using compute::testing::sample_manifest;

inline constexpr Lsn kLogStart{0x1000000};
inline constexpr uint32_t kTestSegment = 1 << 20;
inline constexpr uint32_t kTestBlocks = 6;

inline wal::LogIdentity test_identity() {
  return {wal::version_of_major(15), kSystemId, kTestSegment, 1};
}

class StorageModel {
 public:
  using Violation = std::function<void(const std::string&)>;

  explicit StorageModel(Violation violation)
      : violation_(std::move(violation)), decoder_({.identity = test_identity()}) {
    state_ = sample_manifest(kLogStart, previous_).state;
    decoder_.reset(kLogStart, std::nullopt);
  }

  // False for who writes in an older term than somebody who has asked.
  bool admits(uint64_t term) {
    if (term < newest_writer_) return false;
    newest_writer_ = term;
    return true;
  }
  Lsn fed() const { return decoder_.fed_to(); }
  Lsn ingested() const { return decoder_.boundary(); }
  const std::vector<uint8_t>& log() const { return log_; }
  const std::vector<Lsn>& boundaries() const { return boundaries_; }
  uint64_t commits() const { return commits_.size(); }

  // The log's next bytes, from fed() on.
  void feed(std::span<const uint8_t> bytes) {
    log_.insert(log_.end(), bytes.begin(), bytes.end());
    decoder_.feed(decoder_.fed_to(), bytes);
    wal::Record record;
    wal::Step step = wal::Step::kNeedMore;
    while ((step = decoder_.next(record)) == wal::Step::kRecord) apply(record);
    if (step != wal::Step::kNeedMore)
      violation_("the log does not read on: " + decoder_.status().to_string());
  }

  // Storage as of the record boundary `at`, for starts in the past.
  StorageModel as_of(Lsn at) const {
    StorageModel past(violation_);
    past.feed(std::span(log_).first(at - kLogStart));
    return past;
  }

  Manifest manifest() const {
    Manifest m = sample_manifest(ingested(), previous_);
    m.forks = {{{1664, 0, 1262}, wal::Fork::kMain, 1},
               {{1663, 5, 16384}, wal::Fork::kMain, kTestBlocks}};
    m.state = state_;
    return m;
  }

  // The newest version at or below `at`.
  ServedPage page(const PageKey& key, Lsn at) const {
    std::vector<uint8_t> bytes(kBlockSize, 0);
    const auto* block = std::get_if<wal::BlockId>(&key);
    if (block != nullptr && block->relation.relation == 16384) {
      const auto versions = pages_.find(block->block);
      if (versions != pages_.end()) {
        auto version = versions->second.upper_bound(at);
        if (version != versions->second.begin()) bytes = std::prev(version)->second;
      }
    }
    const uint32_t crc = crc32c(bytes);
    return {key, Bytes::copy(bytes), crc};
  }

  bool holds(const sim::ModelCommit& commit) const {
    const auto at = commits_.find(commit.xid);
    return at != commits_.end() && at->second == std::pair(commit.record.end, commit.crc);
  }

 private:
  void apply(const wal::Record& record) {
    wal::Effect effect;
    const Status parsed = wal::parse_effect(*test_identity().version, record, effect);
    if (!parsed.ok()) return violation_("a record is not understood: " + parsed.to_string());
    state_.apply(record, effect);
    previous_ = record.start;
    boundaries_.push_back(record.end);
    for (const wal::BlockReference& block : record.blocks) {
      std::vector<uint8_t> page(kBlockSize, 0);
      if (!block.image.has_value() ||
          !wal::restore_image(*block.image, std::span<uint8_t, kBlockSize>(page)).ok())
        return violation_("an image can't be restored");
      store_le<uint32_t>(page.data(), static_cast<uint32_t>(record.end.value >> 32));
      store_le<uint32_t>(page.data() + 4, static_cast<uint32_t>(record.end.value));
      uint64_t& counter = counters_[block.block.block];
      if (sim::ModelPage::counter(page) != ++counter) {
        violation_("block " + std::to_string(block.block.block) + " counts " +
                   std::to_string(sim::ModelPage::counter(page)) + " behind " +
                   std::to_string(counter - 1) + " at " + record.start.to_string());
      }
      pages_[block.block.block][record.end] = std::move(page);
    }
    if (const auto* end = std::get_if<wal::TransactionEnd>(&effect)) {
      if (!commits_.emplace(end->xid, std::pair(record.end, record.crc)).second)
        violation_("xid " + std::to_string(end->xid) + " commits twice");
    }
  }

  Violation violation_;
  wal::Decoder decoder_;
  wal::CheckpointState state_;
  Lsn previous_{kLogStart.value - 64};
  std::vector<uint8_t> log_;
  std::vector<Lsn> boundaries_;
  std::map<uint32_t, uint64_t> counters_;
  std::map<uint32_t, std::map<Lsn, std::vector<uint8_t>>> pages_;
  std::map<uint32_t, std::pair<Lsn, uint32_t>> commits_;
  uint64_t newest_writer_ = 0;
};

}  // namespace varve::test
