#include "wal/slru.h"

#include <algorithm>
#include <cstring>

#include "base/codec.h"

namespace varve::wal {
namespace {

constexpr uint32_t kFirstMultiXact = 1;

// Calls `visit` with each xid that ends with the transaction.
template <class Visit>
void for_each_xid(const TransactionEnd& end, const Visit& visit) {
  if (end.xid != 0) visit(end.xid);
  for (size_t i = 0; i < end.subtransactions.size(); ++i) visit(end.subtransactions[i]);
}

void apply_end(const TransactionEnd& end, SlruPage page, SlruBytes bytes) {
  const TransactionStatus status =
      end.committed ? TransactionStatus::kCommitted : TransactionStatus::kAborted;
  for_each_xid(end, [&](uint32_t xid) {
    if (slru_page_of(page.slru, xid) != page) return;
    if (page.slru == Slru::kClog) {
      set_transaction_status(bytes, xid, status);
    } else if (end.committed) {
      set_commit_timestamp(bytes, xid, {end.commit_timestamp(), end.origin});
    }
  });
}

void apply_create(const MultiXactCreate& create, SlruPage page, SlruBytes bytes) {
  const auto set_offset = [&](uint32_t multi, uint32_t offset) {
    if (slru_page_of(Slru::kMultiXactOffset, multi) == page)
      set_multixact_offset(bytes, multi, offset);
  };
  set_offset(create.id, create.offset);
  // Early releases of 14 to 18 left this to the next multixact; later ones write it at once, and
  // redo of either must.
  set_offset(next_multixact(create.id), next_multixact_offset(create));
  if (page.slru != Slru::kMultiXactMember) return;
  for (size_t i = 0; i < create.members.size(); ++i) {
    const uint32_t offset = create.offset + static_cast<uint32_t>(i);
    if (slru_page_of(page.slru, offset) == page)
      set_multixact_member(bytes, offset, create.members[i]);
  }
}

// Is every entry of the segment that holds `page` before every entry of `cutoff`'s page? Entries
// are compared as they are by Postgres, so that the comparison holds across the wrap-around.
bool segment_precedes(SlruPage page, uint32_t cutoff) {
  const uint32_t per_page = slru_entries_per_page(page.slru);
  const auto page_precedes = [&](uint32_t a) {
    // Past the special ids at the front of page 0.
    const uint32_t first = a * per_page + kFirstNormalXid + 1;
    const uint32_t limit = cutoff * per_page + kFirstNormalXid + 1;
    return modular_precedes(first, limit) && modular_precedes(first, limit + per_page - 1);
  };
  const uint32_t first = page.page - page.page % kSlruPagesPerSegment;
  return page_precedes(first) && page_precedes(first + kSlruPagesPerSegment - 1);
}

uint32_t segment_of(Slru slru, uint32_t entry) {
  return slru_page_of(slru, entry).page / kSlruPagesPerSegment;
}

// Members go in whole segments, from the one of the first offset up to, not including, that of the
// end; numbers wrap at the segment of the highest offset.
bool member_segment_is_removed(const MultiXactTruncate& truncate, uint32_t segment) {
  const uint32_t first = segment_of(Slru::kMultiXactMember, truncate.first_offset);
  const uint32_t end = segment_of(Slru::kMultiXactMember, truncate.end_offset);
  return first <= end ? first <= segment && segment < end : segment >= first || segment < end;
}

}  // namespace

uint32_t slru_entries_per_page(Slru slru) {
  switch (slru) {
    case Slru::kClog:
      return kClogXidsPerPage;
    case Slru::kCommitTimestamp:
      return kCommitTimestampsPerPage;
    case Slru::kMultiXactOffset:
      return kMultiXactOffsetsPerPage;
    case Slru::kMultiXactMember:
      return kMultiXactMembersPerPage;
  }
  VARVE_UNREACHABLE("slru");
}

SlruPage slru_page_of(Slru slru, uint32_t entry) {
  return {slru, entry / slru_entries_per_page(slru)};
}

const char* slru_directory(Slru slru) {
  switch (slru) {
    case Slru::kClog:
      return "pg_xact";
    case Slru::kCommitTimestamp:
      return "pg_commit_ts";
    case Slru::kMultiXactOffset:
      return "pg_multixact/offsets";
    case Slru::kMultiXactMember:
      return "pg_multixact/members";
  }
  VARVE_UNREACHABLE("slru");
}

std::string slru_segment_path(SlruPage page) {
  uint32_t segment = page.page / kSlruPagesPerSegment;
  std::string digits;
  for (; segment != 0 || digits.size() < 4; segment >>= 4)
    digits.insert(digits.begin(), "0123456789ABCDEF"[segment & 15]);
  return std::string(slru_directory(page.slru)) + "/" + digits;
}

TransactionStatus transaction_status(SlruView clog_page, uint32_t xid) {
  const uint32_t at = xid % kClogXidsPerPage;
  return static_cast<TransactionStatus>(clog_page[at / 4] >> at % 4 * 2 & 3);
}

CommitTimestamp commit_timestamp(SlruView commit_timestamp_page, uint32_t xid) {
  const uint8_t* entry = commit_timestamp_page.data() + xid % kCommitTimestampsPerPage * 10;
  return {load_le<int64_t>(entry), load_le<uint16_t>(entry + 8)};
}

uint32_t multixact_offset(SlruView offset_page, uint32_t multi) {
  return load_le<uint32_t>(offset_page.data() + multi % kMultiXactOffsetsPerPage * 4);
}

MultiXactMember multixact_member(SlruView member_page, uint32_t offset) {
  const uint32_t within = offset % kMultiXactMembersPerPage;
  const uint8_t* group = member_page.data() + within / 4 * kMultiXactGroupSize;
  return {load_le<uint32_t>(group + 4 + within % 4 * 4), group[within % 4]};
}

void set_transaction_status(SlruBytes clog_page, uint32_t xid, TransactionStatus status) {
  const uint32_t at = xid % kClogXidsPerPage;
  const uint32_t shift = at % 4 * 2;
  uint8_t& byte = clog_page[at / 4];
  byte = static_cast<uint8_t>((byte & ~(3u << shift)) | static_cast<uint32_t>(status) << shift);
}

void set_commit_timestamp(SlruBytes commit_timestamp_page, uint32_t xid,
                          CommitTimestamp timestamp) {
  uint8_t* entry = commit_timestamp_page.data() + xid % kCommitTimestampsPerPage * 10;
  store_le<int64_t>(entry, timestamp.time);
  store_le<uint16_t>(entry + 8, timestamp.origin);
}

void set_multixact_offset(SlruBytes offset_page, uint32_t multi, uint32_t offset) {
  store_le<uint32_t>(offset_page.data() + multi % kMultiXactOffsetsPerPage * 4, offset);
}

void set_multixact_member(SlruBytes member_page, uint32_t offset, MultiXactMember member) {
  const uint32_t within = offset % kMultiXactMembersPerPage;
  uint8_t* group = member_page.data() + within / 4 * kMultiXactGroupSize;
  group[within % 4] = static_cast<uint8_t>(member.status);
  store_le<uint32_t>(group + 4 + within % 4 * 4, member.xid);
}

uint32_t next_multixact(uint32_t id) {
  return std::max(id + 1, kFirstMultiXact);
}

uint32_t next_multixact_offset(const MultiXactCreate& create) {
  const uint32_t next = create.offset + static_cast<uint32_t>(create.members.size());
  return next == 0 ? 1 : next;
}

void touched_slru_pages(const Effect& effect, bool track_commit_timestamp,
                        std::vector<SlruPage>& pages) {
  const size_t from = pages.size();
  // Ids of one record lie close together: most pages are the one added last, the other duplicates
  // go at the end.
  const auto add = [&](SlruPage page) {
    if (pages.size() == from || pages.back() != page) pages.push_back(page);
  };
  if (const auto* end = std::get_if<TransactionEnd>(&effect)) {
    for_each_xid(*end, [&](uint32_t xid) { add(slru_page_of(Slru::kClog, xid)); });
    if (track_commit_timestamp && end->committed)
      for_each_xid(*end, [&](uint32_t xid) { add(slru_page_of(Slru::kCommitTimestamp, xid)); });
  } else if (const auto* zero = std::get_if<SlruZeroPage>(&effect)) {
    add({zero->slru, zero->page});
  } else if (const auto* create = std::get_if<MultiXactCreate>(&effect)) {
    add(slru_page_of(Slru::kMultiXactOffset, create->id));
    add(slru_page_of(Slru::kMultiXactOffset, next_multixact(create->id)));
    for (size_t i = 0; i < create->members.size(); ++i)
      add(slru_page_of(Slru::kMultiXactMember, create->offset + static_cast<uint32_t>(i)));
  }
  const auto added = pages.begin() + static_cast<std::ptrdiff_t>(from);
  std::sort(added, pages.end());
  pages.erase(std::unique(added, pages.end()), pages.end());
}

bool slru_page_is_zeroed(const Effect& effect, SlruPage page) {
  const auto* zero = std::get_if<SlruZeroPage>(&effect);
  return zero != nullptr && SlruPage{zero->slru, zero->page} == page;
}

void apply_to_slru_page(const Effect& effect, SlruPage page, SlruBytes bytes) {
  if (const auto* end = std::get_if<TransactionEnd>(&effect)) {
    if (page.slru == Slru::kClog || page.slru == Slru::kCommitTimestamp)
      apply_end(*end, page, bytes);
  } else if (slru_page_is_zeroed(effect, page)) {
    std::memset(bytes.data(), 0, bytes.size());
  } else if (const auto* create = std::get_if<MultiXactCreate>(&effect)) {
    apply_create(*create, page, bytes);
  }
}

bool slru_segment_is_removed(const Effect& effect, SlruPage page) {
  if (const auto* clog = std::get_if<ClogTruncate>(&effect))
    return page.slru == Slru::kClog && segment_precedes(page, clog->page);
  if (const auto* timestamps = std::get_if<CommitTimestampTruncate>(&effect))
    return page.slru == Slru::kCommitTimestamp && segment_precedes(page, timestamps->page);
  const auto* multi = std::get_if<MultiXactTruncate>(&effect);
  if (multi == nullptr) return false;
  if (page.slru == Slru::kMultiXactMember)
    return member_segment_is_removed(*multi, page.page / kSlruPagesPerSegment);
  // The offset of the multixact before the oldest is kept too.
  const uint32_t last = multi->end_multi <= kFirstMultiXact ? ~uint32_t{0} : multi->end_multi - 1;
  return page.slru == Slru::kMultiXactOffset &&
         segment_precedes(page, slru_page_of(Slru::kMultiXactOffset, last).page);
}

}  // namespace varve::wal
