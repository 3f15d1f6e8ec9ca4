#include "tools/oracle/end_state.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <optional>
#include <set>

#include "base/codec.h"
#include "wal/redo/btree.h"
#include "wal/redo/mask.h"
#include "wal/redo/page.h"
#include "wal/slru.h"

namespace varve::oracle {
namespace {

constexpr uint32_t kDefaultTablespace = 1663;
constexpr uint32_t kGlobalTablespace = 1664;
constexpr uint32_t kBlocksPerFile = 131072;
constexpr uint32_t kSequenceMagic = 0x1717;

std::optional<std::string> path_of(const PageMap::ForkId& id) {
  const wal::RelationId& relation = id.first;
  const char* suffix = id.second == wal::Fork::kVisibility ? "_vm" : "";
  if (relation.tablespace == kGlobalTablespace)
    return fmt::format("global/{}{}", relation.relation, suffix);
  if (relation.tablespace != kDefaultTablespace) return std::nullopt;
  return fmt::format("base/{}/{}{}", relation.database, relation.relation, suffix);
}

// By the page's own looks: an image on its own does not say who owns it. Nullopt: a sequence, whose
// page on disk may by design be ahead of the log.
std::optional<wal::redo::MaskKind> kind_of(std::array<uint8_t, kBlockSize>& bytes, wal::Fork fork) {
  if (fork == wal::Fork::kVisibility) return wal::redo::MaskKind::kVisibilityMap;
  wal::redo::Page page(bytes);
  if (page.special() == kBlockSize - wal::redo::kBtreeSpecialSize)
    return wal::redo::MaskKind::kBtree;
  if (page.special() == kBlockSize - 8 &&
      load_le<uint32_t>(bytes.data() + page.special()) == kSequenceMagic) {
    return std::nullopt;
  }
  return wal::redo::MaskKind::kHeap;
}

}  // namespace

EndState compare_end_state(const std::string& data_directory, const PageMap& pages,
                           uint32_t report) {
  EndState state;
  std::array<uint8_t, kBlockSize> disk;
  for (const auto& [id, fork] : pages.all()) {
    const std::optional<std::string> path = path_of(id);
    if (!path || id.second == wal::Fork::kFreeSpace || id.second == wal::Fork::kInit) {
      state.skipped["free space, init fork or tablespace"] += fork.size();
      continue;
    }
    std::ifstream file(data_directory + "/" + *path, std::ios::binary);
    if (!file) {
      state.skipped["relation dropped"] += fork.size();
      continue;
    }
    for (uint32_t block = 0; block < fork.size() && block < kBlocksPerFile; ++block) {
      if (fork[block] == nullptr) continue;
      std::array<uint8_t, kBlockSize> ours = fork[block]->bytes;
      const auto kind = kind_of(ours, id.second);
      if (!kind) {
        ++state.skipped["sequence"];
        continue;
      }
      file.clear();
      file.seekg(std::streamoff{block} * kBlockSize);
      file.read(reinterpret_cast<char*>(disk.data()), kBlockSize);
      if (!file) {
        // Then the log did not tell that the relation was cut.
        if (++state.different <= report) {
          fmt::print(stderr, "end state: {} ends before block {}\n", *path, block);
        }
        continue;
      }
      const auto offset = wal::redo::first_difference(ours, disk, *kind, block);
      if (!offset) {
        ++state.equal;
      } else if (++state.different <= report) {
        fmt::print(stderr, "end state: {} block {} differs at byte {}\n", *path, block, *offset);
      }
    }
  }
  return state;
}

EndState compare_slru(const std::string& data_directory, const SlruPages& pages, uint32_t report) {
  EndState state;
  std::set<wal::SlruPage> wanted;
  for (const auto& [page, bytes] : pages) wanted.insert(page);
  // Pages on disk that we do not know of: each known segment whole.
  for (const auto& [page, bytes] : pages) {
    const uint32_t first = page.page - page.page % wal::kSlruPagesPerSegment;
    for (uint32_t i = 0; i < wal::kSlruPagesPerSegment; ++i) wanted.insert({page.slru, first + i});
  }
  std::array<uint8_t, kBlockSize> disk;
  const std::array<uint8_t, kBlockSize> zeros{};
  for (const wal::SlruPage page : wanted) {
    const std::string path = wal::slru_segment_path(page);
    std::ifstream file(data_directory + "/" + path, std::ios::binary);
    file.seekg(std::streamoff{page.page % wal::kSlruPagesPerSegment} * kBlockSize);
    file.read(reinterpret_cast<char*>(disk.data()), kBlockSize);
    const auto ours = pages.find(page);
    if (!file && ours == pages.end()) continue;
    if (file && disk == (ours == pages.end() ? zeros : ours->second)) {
      ++state.equal;
    } else if (++state.different <= report) {
      fmt::print(stderr, "end state: {} page {} {}\n", path, page.page,
                 file ? "differs" : "is not on disk");
    }
  }
  return state;
}

}  // namespace varve::oracle
