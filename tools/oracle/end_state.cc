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
constexpr uint16_t kMaxVacuumCycle = 0xFF7F;

std::optional<std::string> path_of(const PageMap::ForkId& id) {
  const wal::RelationId& relation = id.first;
  const char* suffix = id.second == wal::Fork::kVisibility ? "_vm" : "";
  if (relation.tablespace == kGlobalTablespace)
    return fmt::format("global/{}{}", relation.relation, suffix);
  if (relation.tablespace != kDefaultTablespace) return std::nullopt;
  return fmt::format("base/{}/{}{}", relation.database, relation.relation, suffix);
}

// What can be compared of a page, by its own looks: an image on its own does not say who owns it.
struct Look {
  std::optional<wal::redo::MaskKind> kind;
  const char* reason = nullptr;  // without kind: why not
};

Look look_at(std::array<uint8_t, kBlockSize>& bytes, wal::Fork fork) {
  using wal::redo::MaskKind;
  if (fork == wal::Fork::kVisibility) return {MaskKind::kVisibilityMap};
  const uint16_t special = wal::redo::Page(bytes).special();
  if (special == kBlockSize) return {MaskKind::kHeap};
  if (special == kBlockSize - 8 && load_le<uint32_t>(bytes.data() + special) == kSequenceMagic) {
    return {{}, "sequence"};  // on disk it may be ahead of the log, by design
  }
  // Methods with as large a special space end it with an id above all vacuum cycles.
  const auto last = load_le<uint16_t>(bytes.data() + kBlockSize - 2);
  if (special == kBlockSize - wal::redo::kBtreeSpecialSize && last <= kMaxVacuumCycle) {
    return {MaskKind::kBtree};
  }
  return {{}, "other index method"};  // with hints of its own
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
      const Look look = look_at(ours, id.second);
      if (!look.kind) {
        ++state.skipped[look.reason];
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
      const auto offset = wal::redo::first_difference(ours, disk, *look.kind, block);
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
