#include "tools/oracle/end_state.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <optional>

#include "base/codec.h"
#include "wal/redo/btree.h"
#include "wal/redo/mask.h"
#include "wal/redo/page.h"

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
        ++state.skipped["file is shorter"];
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

}  // namespace varve::oracle
