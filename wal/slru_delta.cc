#include "wal/slru_delta.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/codec.h"

namespace varve::wal {
namespace {

constexpr uint8_t kFormat = 1;

enum class Kind : uint8_t { kZero = 0, kStatus = 1, kTimestamp = 2, kOffsets = 3, kMembers = 4 };

// Begins the delta of `page` in `out`.
Writer begin(Kind kind) {
  Writer writer;
  writer.u8(kFormat);
  writer.u8(static_cast<uint8_t>(kind));
  return writer;
}

void finish(SlruPage page, Writer& writer, std::vector<SlruDelta>& out) {
  out.push_back({page, writer.take()});
}

// Deltas of all pages of `slru` that hold some of `xids`, which ascend: what `header` writes, then
// runs of neighbouring entries.
template <class Header>
void split_xids(Slru slru, std::span<const uint32_t> xids, const Header& header,
                std::vector<SlruDelta>& out) {
  const uint32_t per_page = slru_entries_per_page(slru);
  size_t i = 0;
  while (i < xids.size()) {
    const SlruPage page = slru_page_of(slru, xids[i]);
    Writer writer = header();
    while (i < xids.size() && slru_page_of(slru, xids[i]) == page) {
      const size_t first = i;
      for (++i; i < xids.size() && xids[i] == xids[i - 1] + 1 && xids[i] % per_page != 0;) ++i;
      writer.le<uint16_t>(static_cast<uint16_t>(xids[first] % per_page));
      writer.le<uint16_t>(static_cast<uint16_t>(i - first));
    }
    finish(page, writer, out);
  }
}

void split_end(const TransactionEnd& end, bool track, std::vector<SlruDelta>& out) {
  std::vector<uint32_t> xids;
  xids.reserve(1 + end.subtransactions.size());
  if (end.xid != 0) xids.push_back(end.xid);
  for (size_t i = 0; i < end.subtransactions.size(); ++i) xids.push_back(end.subtransactions[i]);
  std::sort(xids.begin(), xids.end());
  xids.erase(std::unique(xids.begin(), xids.end()), xids.end());
  const auto status = [&] {
    Writer writer = begin(Kind::kStatus);
    writer.u8(static_cast<uint8_t>(end.committed ? TransactionStatus::kCommitted
                                                 : TransactionStatus::kAborted));
    return writer;
  };
  split_xids(Slru::kClog, xids, status, out);
  if (!track || !end.committed) return;
  const auto timestamp = [&] {
    Writer writer = begin(Kind::kTimestamp);
    writer.le<int64_t>(end.commit_timestamp());
    writer.le<uint16_t>(end.origin);
    return writer;
  };
  split_xids(Slru::kCommitTimestamp, xids, timestamp, out);
}

void split_create(const MultiXactCreate& create, std::vector<SlruDelta>& out) {
  struct Entry {
    uint32_t multi;
    uint32_t offset;
  };
  const Entry entries[] = {{create.id, create.offset},
                           {next_multixact(create.id), next_multixact_offset(create)}};
  const SlruPage own = slru_page_of(Slru::kMultiXactOffset, entries[0].multi);
  const SlruPage next = slru_page_of(Slru::kMultiXactOffset, entries[1].multi);
  Writer writer = begin(Kind::kOffsets);
  for (const Entry& entry : entries) {
    if (slru_page_of(Slru::kMultiXactOffset, entry.multi) != own) {
      finish(own, writer, out);
      writer = begin(Kind::kOffsets);
    }
    writer.le<uint16_t>(static_cast<uint16_t>(entry.multi % kMultiXactOffsetsPerPage));
    writer.le<uint32_t>(entry.offset);
  }
  finish(next, writer, out);
  size_t i = 0;
  while (i < create.members.size()) {
    const uint32_t first = create.offset + static_cast<uint32_t>(i);
    const SlruPage page = slru_page_of(Slru::kMultiXactMember, first);
    Writer members = begin(Kind::kMembers);
    members.le<uint16_t>(static_cast<uint16_t>(first % kMultiXactMembersPerPage));
    for (; i < create.members.size(); ++i) {
      const uint32_t offset = create.offset + static_cast<uint32_t>(i);
      if (slru_page_of(Slru::kMultiXactMember, offset) != page) break;
      members.u8(static_cast<uint8_t>(create.members[i].status));
      members.le<uint32_t>(create.members[i].xid);
    }
    finish(page, members, out);
  }
}

// Calls `set` with each entry of the runs that are left in `in`; false when one is not of the page.
template <class Set>
bool for_each_entry(Slru slru, Reader& in, const Set& set) {
  while (in.remaining() > 0) {
    const uint32_t first = in.le<uint16_t>();
    const uint32_t count = in.le<uint16_t>();
    if (!in.ok() || count == 0 || first + count > slru_entries_per_page(slru)) return false;
    for (uint32_t entry = first; entry < first + count; ++entry) set(entry);
  }
  return true;
}

bool apply_status(Reader& in, SlruBytes bytes) {
  const uint8_t status = in.u8();
  if (status > 3) return false;
  return for_each_entry(Slru::kClog, in, [&](uint32_t xid) {
    set_transaction_status(bytes, xid, static_cast<TransactionStatus>(status));
  });
}

bool apply_timestamp(Reader& in, SlruBytes bytes) {
  CommitTimestamp timestamp;
  timestamp.time = in.le<int64_t>();
  timestamp.origin = in.le<uint16_t>();
  return for_each_entry(Slru::kCommitTimestamp, in,
                        [&](uint32_t xid) { set_commit_timestamp(bytes, xid, timestamp); });
}

bool apply_offsets(Reader& in, SlruBytes bytes) {
  while (in.remaining() > 0) {
    const uint16_t entry = in.le<uint16_t>();
    const uint32_t offset = in.le<uint32_t>();
    if (!in.ok() || entry >= kMultiXactOffsetsPerPage) return false;
    set_multixact_offset(bytes, entry, offset);
  }
  return true;
}

bool apply_members(Reader& in, SlruBytes bytes) {
  uint32_t entry = in.le<uint16_t>();
  for (; in.remaining() > 0; ++entry) {
    const uint8_t status = in.u8();
    const uint32_t xid = in.le<uint32_t>();
    if (!in.ok() || entry >= kMultiXactMembersPerPage) return false;
    set_multixact_member(bytes, entry, {xid, status});
  }
  return true;
}

// The file whose pages have deltas of this kind.
bool kind_fits(Kind kind, Slru slru) {
  switch (kind) {
    case Kind::kZero:
      return true;
    case Kind::kStatus:
      return slru == Slru::kClog;
    case Kind::kTimestamp:
      return slru == Slru::kCommitTimestamp;
    case Kind::kOffsets:
      return slru == Slru::kMultiXactOffset;
    case Kind::kMembers:
      return slru == Slru::kMultiXactMember;
  }
  return false;
}

bool apply_kind(Kind kind, Reader& in, SlruBytes bytes) {
  switch (kind) {
    case Kind::kZero:
      std::memset(bytes.data(), 0, bytes.size());
      return in.remaining() == 0;
    case Kind::kStatus:
      return apply_status(in, bytes);
    case Kind::kTimestamp:
      return apply_timestamp(in, bytes);
    case Kind::kOffsets:
      return apply_offsets(in, bytes);
    case Kind::kMembers:
      return apply_members(in, bytes);
  }
  return false;
}

std::string name_of(SlruPage page) {
  return std::string(slru_directory(page.slru)) + " page " + std::to_string(page.page);
}

}  // namespace

void split_slru_effect(const Effect& effect, bool track_commit_timestamp,
                       std::vector<SlruDelta>& out) {
  if (const auto* end = std::get_if<TransactionEnd>(&effect)) {
    split_end(*end, track_commit_timestamp, out);
  } else if (const auto* zero = std::get_if<SlruZeroPage>(&effect)) {
    Writer writer = begin(Kind::kZero);
    finish({zero->slru, zero->page}, writer, out);
  } else if (const auto* create = std::get_if<MultiXactCreate>(&effect)) {
    split_create(*create, out);
  }
}

bool slru_delta_starts_chain(std::span<const uint8_t> delta) {
  return delta.size() == 2 && delta[1] == static_cast<uint8_t>(Kind::kZero);
}

Status apply_slru_delta(SlruPage page, std::span<const uint8_t> delta, SlruBytes bytes) {
  Reader in(delta);
  const uint8_t format = in.u8();
  const uint8_t kind = in.u8();
  if (in.ok() && format > kFormat) {
    return Status(Code::kUnsupported, name_of(page) + ": delta of format " + std::to_string(format))
        .with_hint("a newer version wrote it");
  }
  const bool known = in.ok() && format == kFormat && kind <= static_cast<uint8_t>(Kind::kMembers) &&
                     kind_fits(static_cast<Kind>(kind), page.slru);
  if (known && apply_kind(static_cast<Kind>(kind), in, bytes)) return Status();
  return Status(Code::kCorrupt,
                name_of(page) + ": " + std::to_string(delta.size()) + " bytes that are no delta");
}

}  // namespace varve::wal
