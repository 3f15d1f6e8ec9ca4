#include "tests/storage/data_directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/codec.h"
#include "tests/wal/stock_server.h"
#include "wal/extent.h"
#include "wal/redo/mask.h"

namespace varve::test {
namespace {

using storage::ClusterFiles;
using storage::Key;
using storage::PageAnswer;
using wal::redo::MaskKind;

constexpr uint32_t kCheckpointRecordBytes = 114;

// What a page may differ in, told by its special space.
MaskKind mask_for(std::span<const uint8_t> page, wal::Fork fork) {
  if (fork == wal::Fork::kVisibility) return MaskKind::kVisibilityMap;
  const auto special = load_le<uint16_t>(page.data() + 16);
  if (special == 0) return MaskKind::kNothing;
  if (special == kBlockSize) return MaskKind::kHeap;
  return kBlockSize - special == 16 ? MaskKind::kBtree : MaskKind::kUnusedSpace;
}

// CREATE DATABASE by log writes images of map pages as if they were standard pages, so that all of
// the map falls into the image's hole: a stock standby has lost these bits too, and vacuum sets
// them again. Bits may be missing there, never be set where the server has none.
bool is_lost_map(const wal::BlockId& id, std::span<const uint8_t> ours,
                 std::span<const uint8_t> theirs) {
  constexpr uint32_t kFirstUserOid = 16384;
  if (id.fork != wal::Fork::kVisibility || id.relation.database < kFirstUserOid) return false;
  for (size_t i = 24; i < kBlockSize; ++i) {
    if ((ours[i] & ~theirs[i]) != 0) return false;
  }
  return std::ranges::equal(ours.first(8), theirs.first(8));
}

void compare_page(const Result<PageAnswer>& answer, const wal::BlockId& id,
                  std::span<const uint8_t> file, Tally& tally) {
  ++tally.pages;
  if (answer.ok()) {
    // A page that was only extended, never logged: it holds nothing.
    const bool empty =
        load_le<uint16_t>(file.data() + 14) == 0 || load_le<uint16_t>(file.data() + 12) == 24;
    if (answer->beyond_end && empty) {
      ++tally.beyond;
      return;
    }
    const std::span<const uint8_t, kBlockSize> ours(answer->page.data(), kBlockSize);
    const std::span<const uint8_t, kBlockSize> theirs(file.data(), kBlockSize);
    const bool only_extended = empty && std::ranges::all_of(ours, [](uint8_t b) { return b == 0; });
    const auto at = wal::redo::first_difference(ours, theirs, mask_for(file, id.fork), id.block);
    if (!at || only_extended) return;
    if (is_lost_map(id, ours, theirs)) {
      ++tally.lost_maps;
      return;
    }
    if (++tally.unequal <= 5) {
      ADD_FAILURE() << Key::block(id).to_string() << " differs at byte " << *at << " ours "
                    << Lsn(uint64_t{load_le<uint32_t>(ours.data())} << 32 |
                           load_le<uint32_t>(ours.data() + 4))
                           .to_string()
                    << " bytes " << int(ours[*at]) << " " << int(theirs[*at]) << " theirs "
                    << Lsn(uint64_t{load_le<uint32_t>(file.data())} << 32 |
                           load_le<uint32_t>(file.data() + 4))
                           .to_string();
    }
    return;
  }
  if (++tally.unequal <= 5) ADD_FAILURE() << answer.status().to_string();
}

// "base/5/16384_vm.1" to its fork and first block.
std::optional<wal::BlockId> parse_path(const std::string& path) {
  wal::BlockId id;
  int used = 0;
  if (std::sscanf(path.c_str(), "base/%u/%u%n", &id.relation.database, &id.relation.relation,
                  &used) == 2) {
    id.relation.tablespace = 1663;
  } else if (std::sscanf(path.c_str(), "global/%u%n", &id.relation.relation, &used) == 1) {
    id.relation.tablespace = 1664;
  } else {
    return std::nullopt;
  }
  std::string rest = path.substr(static_cast<size_t>(used));
  if (rest.starts_with("_fsm")) return std::nullopt;
  if (rest.starts_with("_vm")) {
    id.fork = wal::Fork::kVisibility;
    rest = rest.substr(3);
  } else if (rest.starts_with("_init")) {
    id.fork = wal::Fork::kInit;
    rest = rest.substr(5);
  }
  if (rest.starts_with(".")) id.block = 131072 * static_cast<uint32_t>(std::stoul(rest.substr(1)));
  return id;
}

void compare_relation(PageSource& source, const wal::BlockId& first, const Bytes& content,
                      Tally& tally) {
  constexpr uint32_t kBatch = 128;
  const auto blocks = static_cast<uint32_t>(content.size() / kBlockSize);
  for (uint32_t from = 0; from < blocks; from += kBatch) {
    wal::BlockId id = first;
    id.block += from;
    const auto answers = source.blocks(id, std::min(kBatch, blocks - from));
    for (const Result<PageAnswer>& answer : answers) {
      const size_t at = size_t{id.block - first.block} * kBlockSize;
      compare_page(answer, id, content.span().subspan(at, kBlockSize), tally);
      ++id.block;
    }
  }
}

void compare_status_file(PageSource& source, const std::string& path, const Bytes& content,
                         Tally& tally) {
  wal::SlruPage page{wal::Slru::kClog, 0};
  if (path.starts_with("pg_multixact/offsets/")) page.slru = wal::Slru::kMultiXactOffset;
  if (path.starts_with("pg_multixact/members/")) page.slru = wal::Slru::kMultiXactMember;
  const std::string name = path.substr(path.rfind('/') + 1);
  page.page = 32 * static_cast<uint32_t>(std::stoul(name, nullptr, 16));
  for (size_t at = 0; at + kBlockSize <= content.size(); at += kBlockSize, ++page.page) {
    const Result<Bytes> ours = source.status_page(page);
    ++tally.pages;
    if (!ours.ok() || !std::ranges::equal(ours->span(), content.span().subspan(at, kBlockSize))) {
      ++tally.unequal;
      ADD_FAILURE() << path << " page " << page.page << " " << ours.status().to_string();
    }
  }
}

}  // namespace

ClusterFiles read_cluster(const std::string& data) {
  auto contents = std::make_shared<std::map<std::string, std::vector<uint8_t>>>();
  ClusterFiles files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(data)) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path().lexically_relative(data).string();
    (*contents)[path] = read_file(entry.path().string());
    files.files.push_back({path, (*contents)[path].size()});
  }
  files.read = [contents](const std::string& path) -> Result<Bytes> {
    const auto found = contents->find(path);
    if (found == contents->end()) return Status(Code::kNotFound, "no file").with_object(path);
    return Bytes::copy(found->second);
  };
  return files;
}

wal::ControlFile read_control(const std::string& data) {
  return *wal::parse_control_file(*wal::version_of_major(15),
                                  read_file(data + "/global/pg_control"));
}

Lsn end_of(const wal::ControlFile& control) {
  return wal::record_extent(control.checkpoint_record, kCheckpointRecordBytes, false,
                            kWalSegmentSize)
      .end;
}

Tally compare_directory(PageSource& source, const ClusterFiles& files) {
  Tally tally;
  for (const ClusterFiles::File& file : files.files) {
    if (const std::optional<wal::BlockId> first = parse_path(file.path)) {
      ++tally.forks;
      compare_relation(source, *first, *files.read(file.path), tally);
    }
    if (file.path.starts_with("pg_xact/") || file.path.starts_with("pg_multixact/")) {
      compare_status_file(source, file.path, *files.read(file.path), tally);
    }
  }
  return tally;
}

}  // namespace varve::test
