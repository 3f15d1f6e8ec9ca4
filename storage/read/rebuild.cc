#include "storage/read/rebuild.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "storage/value.h"
#include "wal/redo/redo.h"
#include "wal/slru_delta.h"

namespace varve::storage {
namespace {

Status about(Status status, const Key& key, Lsn lsn) {
  return std::move(status).with_object(key.to_string()).with_lsn(lsn);
}

Status apply_value(const Key& key, const StoredValue& stored, std::span<uint8_t, kBlockSize> page) {
  VARVE_TRY_ASSIGN(const ValueView value, parse_value(stored.bytes));
  const bool is_block = key.kind() == KeyKind::kBlock;
  switch (value.kind) {
    case ValueKind::kImage:
      if (value.payload.size() != kBlockSize) {
        return Status(Code::kCorrupt,
                      "a page image of " + std::to_string(value.payload.size()) + " bytes");
      }
      std::memcpy(page.data(), value.payload.data(), kBlockSize);
      return Status();
    case ValueKind::kZeroPage:
      std::ranges::fill(page, uint8_t{0});
      return Status();
    case ValueKind::kDelta:
    case ValueKind::kDeltaOnZeros:
      if (!is_block) break;
      if (starts_chain(value)) std::ranges::fill(page, uint8_t{0});
      return wal::redo::apply(key.to_block(), page, stored.lsn, value.payload);
    case ValueKind::kSlruDelta:
    case ValueKind::kSlruDeltaOnZeros:
      if (is_block) break;
      if (starts_chain(value)) std::ranges::fill(page, uint8_t{0});
      return wal::apply_slru_delta(key.to_slru_page(), value.payload, page);
    case ValueKind::kTombstone:
      return Status(Code::kNotFound, "the page does not exist");
    case ValueKind::kBelow:
      break;
    case ValueKind::kPoison:
      return Status(Code::kCorrupt, "the page can't be rebuilt: " +
                                        std::string(value.payload.begin(), value.payload.end()));
  }
  return Status(Code::kCorrupt, "a value that this kind of page can't have");
}

}  // namespace

Status rebuild_page(const Key& key, std::span<const StoredValue> chain, bool has_base,
                    std::span<uint8_t, kBlockSize> page) {
  VARVE_CHECK(key.kind() == KeyKind::kBlock || key.kind() == KeyKind::kSlruBlock);
  if (!has_base) {
    bool started = false;
    if (!chain.empty()) {
      VARVE_TRY_ASSIGN(const ValueView value, parse_value(chain.back().bytes));
      started = starts_chain(value);
    }
    if (!started) {
      return about(Status(Code::kCorrupt, "no version of the page to start from; " +
                                              std::to_string(chain.size()) + " deltas found"),
                   key, chain.empty() ? Lsn(0) : chain.back().lsn);
    }
  }
  for (size_t i = chain.size(); i-- > 0;) {
    if (Status status = apply_value(key, chain[i], page); !status.ok()) {
      return about(std::move(status), key, chain[i].lsn);
    }
  }
  return Status();
}

}  // namespace varve::storage
