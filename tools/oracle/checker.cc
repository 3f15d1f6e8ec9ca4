#include "tools/oracle/checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/codec.h"
#include "wal/image.h"
#include "wal/redo/mask.h"
#include "wal/redo/page.h"
#include "wal/redo/redo.h"
#include "wal/visibility.h"

namespace varve::oracle {
namespace {

// A backend between clearing and logging is in a critical section and holds the heap page's lock,
// so the bits can't be set again before; but on a busy machine it may lose its core there while the
// others go on logging.
constexpr uint64_t kEarlyClearRecords = 50000;

}  // namespace

Status Checker::take(const wal::Version& version, const wal::Record& record) {
  version_ = &version;
  ++counts_.records;
  VARVE_TRY(wal::parse_effect(version, record, effect_));
  VARVE_TRY(apply_effect(effect_, record.end, cluster_));
  if (const auto* parameters = std::get_if<wal::ServerParameters>(&effect_)) {
    facts_.hint_bits_logged = checksums_ || parameters->wal_log_hints;
  }
  if (!early_clears_.empty()) settle(false);
  for (const wal::BlockReference& block : record.blocks) VARVE_TRY(take_block(record, block));
  return Status();
}

Status Checker::take_block(const wal::Record& record, const wal::BlockReference& block) {
  const bool applied = block.image && block.image->apply;
  const std::optional<wal::redo::MaskKind> kind = wal::redo::mask_of(record.rmid, block.block.fork);
  if (!kind && !applied) {
    skip("no native redo");
    cluster_.pages.forget(block.block);
    return Status();
  }
  VARVE_TRY_ASSIGN(const auto delta, wal::redo::split(record, block, facts_));
  if (!delta) {
    skip("not touched");
    return Status();
  }
  counts_.delta_bytes += delta->size();

  const bool map_page = block.block.fork == wal::Fork::kVisibility;
  KnownPage* page = cluster_.pages.find(block.block);
  const bool empty_map =
      page == nullptr && map_page && cluster_.pages.created(block.block.relation);
  const bool known = page != nullptr || wal::redo::will_init(*delta) || empty_map;
  if (!known && !block.image) {
    skip("page unknown, no image");
    return Status();
  }
  if (block.image) VARVE_TRY(wal::restore_image(*block.image, image_));
  if (page == nullptr) page = &cluster_.pages.make(block.block);
  if (!applied) page->rmid = record.rmid;
  if (!known) {
    page->bytes = image_;
    wal::redo::Page(page->bytes).set_lsn(record.end);
    skip("page unknown, image adopted");
    return Status();
  }

  const Lsn before = wal::redo::Page(page->bytes).lsn();
  const bool sampled = !applied && block.image && *kind != wal::redo::MaskKind::kNothing;
  if (sampler_ != nullptr && sampled) sampler_->offer(record, block, page->bytes);
  const Status status = wal::redo::apply(block.block, page->bytes, record.end, *delta);
  if (!status.ok()) {
    mismatch(record, block, status.to_string());
    if (block.image) page->bytes = image_;
    wal::redo::Page(page->bytes).set_lsn(record.end);
  } else if (applied) {
    skip("image applied");
    ++counts_.restored[name_of(record)];
  } else if (!block.image) {
    skip("no image to compare");
  } else if (*kind == wal::redo::MaskKind::kNothing) {
    skip("hint record");
  } else {
    if (!wal::redo::will_init(*delta))
      check_chain(record, block, before, wal::redo::Page(image_).lsn());
    compare(record, block, *page);
  }
  return Status();
}

void Checker::compare(const wal::Record& record, const wal::BlockReference& block,
                      KnownPage& page) {
  ++counts_.comparisons;
  ++counts_.types[name_of(record)];
  if (block.block.fork == wal::Fork::kVisibility) {
    compare_map(record, block, page);
    return;
  }
  const auto kind = *wal::redo::mask_of(record.rmid, block.block.fork);
  const auto offset = wal::redo::first_difference(page.bytes, image_, kind, block.block.block);
  if (!offset) return;
  std::string bytes;
  for (uint32_t i = *offset; i < *offset + 16 && i < kBlockSize; ++i) {
    bytes += fmt::format(" {:02x}/{:02x}", page.bytes[i], image_[i]);
  }
  mismatch(record, block, fmt::format("byte {} (ours/primary's):{}", *offset, bytes));
  page.bytes = image_;
  wal::redo::Page(page.bytes).set_lsn(record.end);
}

void Checker::compare_map(const wal::Record& record, const wal::BlockReference& block,
                          KnownPage& page) {
  const auto offset = wal::redo::first_difference(
      page.bytes, image_, wal::redo::MaskKind::kVisibilityMap, block.block.block);
  if (!offset) {
    ++counts_.vm_pages_equal;
    return;
  }
  bool ahead = *offset >= wal::kVisibilityPageHeader;
  std::vector<EarlyClear> clears;
  const uint32_t first = block.block.block * wal::kHeapBlocksPerVisibilityPage;
  for (uint32_t i = 0; ahead && i < wal::kHeapBlocksPerVisibilityPage; ++i) {
    const uint8_t ours = wal::visibility_of(page.bytes, first + i);
    const uint8_t theirs = wal::visibility_of(image_, first + i);
    ahead = (theirs & ~ours) == 0;
    if (ours == theirs) continue;
    clears.push_back(
        {block.block, first + i, static_cast<uint8_t>(ours & ~theirs), counts_.records});
  }
  if (ahead) {
    ++counts_.vm_pages_ahead;
    early_clears_.insert(early_clears_.end(), clears.begin(), clears.end());
    return;
  }
  ++counts_.vm_pages_different;
  mismatch(record, block, fmt::format("visibility map differs at byte {}", *offset));
  page.bytes = image_;
  wal::redo::Page(page.bytes).set_lsn(record.end);
}

// Drops the early clears that have happened by now; those that are too old, or left at the end, are
// differences.
void Checker::settle(bool end) {
  std::erase_if(early_clears_, [&](const EarlyClear& clear) {
    const KnownPage* page = cluster_.pages.find(clear.map);
    if (page == nullptr || (wal::visibility_of(page->bytes, clear.heap_block) & clear.bits) == 0) {
      counts_.longest_ahead = std::max(counts_.longest_ahead, counts_.records - clear.record);
      return true;
    }
    if (!end && counts_.records - clear.record <= kEarlyClearRecords) return false;
    ++counts_.vm_pages_different;
    ++counts_.mismatches;
    fmt::print(
        stderr,
        "{}: the bits of heap block {} were clear on the primary and no record clears them\n",
        clear.map.to_string(), clear.heap_block);
    return true;
  });
}

void Checker::check_chain(const wal::Record& record, const wal::BlockReference& block, Lsn ours,
                          Lsn image) {
  if (ours == image) {
    ++counts_.chain_equal;
    return;
  }
  if (++counts_.chain_different <= report_) {
    fmt::print(stderr, "{} {} {}: page was at {}, the primary's at {}\n", record.start.to_string(),
               name_of(record), block.block.to_string(), ours.to_string(), image.to_string());
  }
}

void Checker::mismatch(const wal::Record& record, const wal::BlockReference& block,
                       const std::string& what) {
  if (++counts_.mismatches > report_) return;
  fmt::print(stderr, "{} {} block {} {}: {}\n", record.start.to_string(), name_of(record), block.id,
             block.block.to_string(), what);
}

}  // namespace varve::oracle
