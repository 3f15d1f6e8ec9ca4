// The status files of transactions (pg_xact, pg_commit_ts, pg_multixact): page arithmetic, and what
// an effect does to one page of them.
//
// These pages have no header and no LSN: all 8192 bytes are content. A page that no record has
// created holds zeros. touched_slru_pages() and apply_to_slru_page() are the plain meaning of an
// effect, for whoever has the record at hand; a store keeps slru_delta.h's form of it. Applying an
// effect twice gives the same page, and pages don't depend on each other.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "wal/effects.h"

namespace varve::wal {

inline constexpr uint32_t kSlruPagesPerSegment = 32;

inline constexpr uint32_t kClogXidsPerPage = kBlockSize * 4;           // 2 bits each
inline constexpr uint32_t kCommitTimestampsPerPage = kBlockSize / 10;  // time and origin
inline constexpr uint32_t kMultiXactOffsetsPerPage = kBlockSize / 4;
// Members stand in groups: four bytes of status, then four xids.
inline constexpr uint32_t kMultiXactGroupSize = 20;
inline constexpr uint32_t kMultiXactMembersPerPage = kBlockSize / kMultiXactGroupSize * 4;

struct SlruPage {
  Slru slru = Slru::kClog;
  uint32_t page = 0;
  constexpr auto operator<=>(const SlruPage&) const = default;
};

// Entries of a page of this file.
uint32_t slru_entries_per_page(Slru slru);
// The page that holds a transaction, a multixact or a member offset.
SlruPage slru_page_of(Slru slru, uint32_t entry);
// "pg_xact", "pg_commit_ts", "pg_multixact/offsets", "pg_multixact/members".
const char* slru_directory(Slru slru);
// "pg_xact/0A1F" for the segment that holds the page.
std::string slru_segment_path(SlruPage page);

// What the status of a transaction can be, as two bits of pg_xact.
enum class TransactionStatus : uint8_t {
  kInProgress = 0,
  kCommitted = 1,
  kAborted = 2,
  kSubcommitted = 3
};

using SlruBytes = std::span<uint8_t, kBlockSize>;
using SlruView = std::span<const uint8_t, kBlockSize>;

// Invariant of these: the page is the one that slru_page_of() names.
TransactionStatus transaction_status(SlruView clog_page, uint32_t xid);
struct CommitTimestamp {
  int64_t time = 0;  // microseconds since 2000-01-01; 0 with origin 0: none
  uint16_t origin = 0;
  bool operator==(const CommitTimestamp&) const = default;
};
CommitTimestamp commit_timestamp(SlruView commit_timestamp_page, uint32_t xid);
uint32_t multixact_offset(SlruView offset_page, uint32_t multi);
MultiXactMember multixact_member(SlruView member_page, uint32_t offset);

// The same, written.
void set_transaction_status(SlruBytes clog_page, uint32_t xid, TransactionStatus status);
void set_commit_timestamp(SlruBytes commit_timestamp_page, uint32_t xid, CommitTimestamp timestamp);
void set_multixact_offset(SlruBytes offset_page, uint32_t multi, uint32_t offset);
void set_multixact_member(SlruBytes member_page, uint32_t offset, MultiXactMember member);

// The multixact after `id`; ids skip 0. And where its members begin; 0 means "not set", so offsets
// skip it too.
uint32_t next_multixact(uint32_t id);
uint32_t next_multixact_offset(const MultiXactCreate& create);

// Adds to `pages` each page that `effect` changes, without duplicates among those added; nothing
// for effects that change none, truncations included. Commit timestamps count only when the server
// keeps them.
void touched_slru_pages(const Effect& effect, bool track_commit_timestamp,
                        std::vector<SlruPage>& pages);

// True when the page's old content does not matter: it is zeroed.
bool slru_page_is_zeroed(const Effect& effect, SlruPage page);

// Makes the changes of `effect` that fall on `page`.
void apply_to_slru_page(const Effect& effect, SlruPage page, SlruBytes bytes);

// True when the truncation `effect` removes the segment file that holds `page`. Never for other
// effects.
bool slru_segment_is_removed(const Effect& effect, SlruPage page);

}  // namespace varve::wal
