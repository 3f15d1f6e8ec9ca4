// For tests: a cluster that writes a real log and keeps every version of every page, naively.
//
// It knows nothing of storage: records are applied whole, databases are copied page by page, and
// each page keeps a full copy for each LSN at which it changed. What storage serves must equal it
// at every LSN.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/codec.h"
#include "base/random.h"
#include "wal/checkpoint_state.h"
#include "wal/decode_record.h"
#include "wal/effects.h"
#include "wal/redo/delta.h"
#include "wal/redo/redo.h"
#include "wal/slru.h"
#include "wal/version.h"
#include "wal/writer.h"

namespace varve::storage::testing {

using Page = std::array<uint8_t, kBlockSize>;
using PageRef = std::shared_ptr<const Page>;
using ForkId = std::pair<wal::RelationId, wal::Fork>;

inline constexpr uint32_t kTablespace = 1663;

class ModelCluster {
 public:
  ModelCluster(Lsn start, Lsn previous)
      : start_(start), writer_(identity(), start, previous), end_(start) {}

  static wal::LogIdentity identity() {
    wal::LogIdentity identity;
    identity.version = wal::version_of_major(15);
    identity.system_id = 42;
    identity.segment_size = 1 << 20;
    return identity;
  }

  Lsn start() const { return start_; }
  Lsn end() const { return end_; }
  // The log from `from` (>= start) on.
  std::span<const uint8_t> log(Lsn from) const { return std::span(log_).subspan(from - start_); }
  const std::vector<Lsn>& ends() const { return ends_; }
  const std::vector<std::pair<Lsn, int64_t>>& times() const { return times_; }
  Lsn start_of(size_t record) const { return starts_[record]; }

  // Size at `lsn`: nothing when the fork does not exist.
  std::optional<uint32_t> size(const ForkId& fork, Lsn lsn) const {
    return find(sizes_, fork, lsn).value_or(std::nullopt);
  }
  PageRef page(const wal::BlockId& id, Lsn lsn) const {
    return find(pages_, id, lsn).value_or(nullptr);
  }
  PageRef clog(uint32_t page, Lsn lsn) const { return find(clog_, page, lsn).value_or(nullptr); }
  const auto& all_sizes() const { return sizes_; }

  // Appends one record of a drawn kind.
  void step(RandomStream& random) {
    const uint64_t kind = random.below(100);
    const wal::RelationId relation = draw_relation(random);
    const ForkId main{relation, wal::Fork::kMain};
    const bool exists = current_.contains(main);
    if (kind < 6 || (!exists && kind < 60)) {
      create(relation);
    } else if (kind < 12) {
      truncate(relation,
               exists ? static_cast<uint32_t>(random.below(current_[main].size() + 1)) : 0);
    } else if (kind < 30) {
      std::vector<wal::RelationId> dropped;
      if (random.chance(150000) && exists) dropped.push_back(relation);
      commit(random, dropped);
    } else if (kind < 34) {
      const auto copy = static_cast<uint32_t>(10 + random.below(3));
      if (databases_.insert({copy, false}).first->second) {
        drop_database(copy);
      } else {
        copy_database(5, copy);
      }
    } else if (kind < 44) {
      // Beyond the end now and then, so that gaps appear.
      const uint32_t blocks = exists ? static_cast<uint32_t>(current_[main].size()) : 0;
      image(random, {relation, wal::Fork::kMain, static_cast<uint32_t>(random.below(blocks + 4))});
    } else {
      insert(random, relation);
    }
  }

 private:
  template <class Map, class K>
  static auto find(const Map& map, const K& key, Lsn lsn)
      -> std::optional<typename Map::mapped_type::mapped_type> {
    const auto found = map.find(key);
    if (found == map.end()) return std::nullopt;
    const auto after = found->second.upper_bound(lsn);
    if (after == found->second.begin()) return std::nullopt;
    return std::prev(after)->second;
  }

  wal::RelationId draw_relation(RandomStream& random) {
    uint32_t database = 5;
    if (random.chance(200000)) {
      const auto other = static_cast<uint32_t>(10 + random.below(3));
      const auto known = databases_.find(other);
      if (known != databases_.end() && known->second) database = other;
    }
    return {kTablespace, database, static_cast<uint32_t>(16384 + random.below(4))};
  }

  void create(const wal::RelationId& relation) {
    Writer data;
    put_relation(data, relation);
    data.le<int32_t>(0);
    append(wal::Rmgr::kStorage, 0x11, 0, {}, data);
    current_[{relation, wal::Fork::kMain}].clear();
    note_size({relation, wal::Fork::kMain});
  }

  void truncate(const wal::RelationId& relation, uint32_t blocks) {
    Writer data;
    data.le<uint32_t>(blocks);
    put_relation(data, relation);
    data.le<int32_t>(1);
    append(wal::Rmgr::kStorage, 0x21, 0, {}, data);
    const auto fork = current_.find({relation, wal::Fork::kMain});
    if (fork == current_.end() || fork->second.size() <= blocks) return;
    fork->second.resize(blocks);
    note_size(fork->first);
  }

  void commit(RandomStream& random, const std::vector<wal::RelationId>& dropped) {
    Writer data;
    clock_ += static_cast<int64_t>(random.below(2000)) - 700;
    data.le<int64_t>(clock_);
    if (!dropped.empty()) {
      data.le<uint32_t>(4);
      data.le<int32_t>(static_cast<int32_t>(dropped.size()));
      for (const wal::RelationId& relation : dropped) put_relation(data, relation);
    }
    const uint32_t xid = next_xid_++;
    append(wal::Rmgr::kTransaction, dropped.empty() ? 0x00 : 0x81, xid, {}, data);
    times_.emplace_back(end_, clock_);
    const wal::SlruPage page = wal::slru_page_of(wal::Slru::kClog, xid);
    auto& versions = clog_[page.page];
    auto next = std::make_shared<Page>(versions.empty() ? Page{} : *versions.rbegin()->second);
    const uint32_t at = xid % wal::kClogXidsPerPage;
    (*next)[at / 4] = static_cast<uint8_t>((*next)[at / 4] | 1u << at % 4 * 2);
    versions[end_] = next;
    for (const wal::RelationId& relation : dropped) drop({relation, wal::Fork::kMain});
  }

  void copy_database(uint32_t from, uint32_t to) {
    Writer data;
    for (const uint32_t value : {to, kTablespace, from, kTablespace}) data.le<uint32_t>(value);
    append(wal::Rmgr::kDatabase, 0x01, 0, {}, data);
    databases_[to] = true;
    const auto before = current_;
    for (const auto& [fork, blocks] : before) {
      if (fork.first.database != from) continue;
      ForkId copy = fork;
      copy.first.database = to;
      current_[copy] = blocks;
      note_size(copy);
      for (uint32_t i = 0; i < blocks.size(); ++i) {
        pages_[{copy.first, copy.second, i}][end_] = blocks[i];
      }
    }
  }

  void drop_database(uint32_t database) {
    Writer data;
    data.le<uint32_t>(database);
    data.le<int32_t>(1);
    data.le<uint32_t>(kTablespace);
    append(wal::Rmgr::kDatabase, 0x21, 0, {}, data);
    databases_[database] = false;
    const auto before = current_;
    for (const auto& [fork, blocks] : before) {
      if (fork.first.database == database) drop(fork);
    }
  }

  void image(RandomStream& random, const wal::BlockId& id) {
    Page page{};
    store_le<uint16_t>(page.data() + 12, 24);
    store_le<uint16_t>(page.data() + 14, 4096);
    store_le<uint16_t>(page.data() + 16, 8192);
    store_le<uint16_t>(page.data() + 18, 0x2004);
    const auto fill = static_cast<uint8_t>(random.next());
    for (size_t i = 4096; i < kBlockSize; ++i) page[i] = static_cast<uint8_t>(fill + i * i);
    wal::BlockReference block;
    block.block = id;
    wal::BlockImage full;
    full.bytes = page;
    full.apply = true;
    block.image = full;
    append(wal::Rmgr::kXlog, 0xB0, 0, {&block, 1}, {});
  }

  void insert(RandomStream& random, const wal::RelationId& relation) {
    const auto fork = current_.find({relation, wal::Fork::kMain});
    const uint32_t blocks = fork == current_.end() ? 0 : static_cast<uint32_t>(fork->second.size());
    const auto number = static_cast<uint32_t>(random.below(blocks + 1));
    const size_t length = 10 + random.below(60);
    uint16_t item = 1;
    bool init = number == blocks;
    if (!init) {
      const Page& page = *fork->second[number];
      const auto lower = load_le<uint16_t>(page.data() + 12);
      const auto upper = load_le<uint16_t>(page.data() + 14);
      // Images and zeros have no place for rows of ours; so such a page is made anew.
      init = upper == 0 || lower + 200 > upper;
      if (!init) item = static_cast<uint16_t>((lower - 24) / 4 + 1);
    }
    Writer data;
    data.le<uint16_t>(item);
    data.u8(0);
    Writer tuple;
    tuple.le<uint16_t>(2);
    tuple.le<uint16_t>(0x0802);
    tuple.u8(24);
    for (size_t i = 0; i < length; ++i) tuple.u8(static_cast<uint8_t>(random.next()));
    wal::BlockReference block;
    block.block = {relation, wal::Fork::kMain,
                   init && blocks > 0 && number < blocks ? number : number};
    block.will_init = init;
    block.has_data = true;
    block.data = tuple.span();
    append(wal::Rmgr::kHeap, init ? 0x80 : 0x00, next_xid_, {&block, 1}, data);
  }

  static void put_relation(Writer& out, const wal::RelationId& relation) {
    out.le<uint32_t>(relation.tablespace);
    out.le<uint32_t>(relation.database);
    out.le<uint32_t>(relation.relation);
  }

  void append(wal::Rmgr rmgr, uint8_t info, uint32_t xid,
              std::span<const wal::BlockReference> blocks, const Writer& data) {
    wal::RecordParts parts;
    parts.xid = xid;
    parts.info = info;
    parts.rmid = static_cast<uint8_t>(rmgr);
    parts.blocks = blocks;
    parts.main_data = data.span();
    std::vector<uint8_t> raw = wal::build_record(*identity().version, parts);
    const LsnRange extent = writer_.append(raw, log_);
    end_ = extent.end;
    ends_.push_back(end_);
    starts_.push_back(extent.start);
    wal::Record record;
    VARVE_CHECK(
        wal::decode_record(*identity().version, extent.start, extent.end, raw, record).ok());
    for (const wal::BlockReference& block : record.blocks) change(record, block);
  }

  void change(const wal::Record& record, const wal::BlockReference& block) {
    const ForkId fork{block.block.relation, block.block.fork};
    std::vector<PageRef>& pages = current_[fork];
    const size_t before = pages.size();
    while (pages.size() <= block.block.block) {
      pages.push_back(std::make_shared<Page>(Page{}));
      wal::BlockId id = block.block;
      id.block = static_cast<uint32_t>(pages.size() - 1);
      pages_[id][end_] = pages.back();
    }
    auto next = std::make_shared<Page>(*pages[block.block.block]);
    const auto delta = wal::redo::whole_delta(record, block, {});
    VARVE_CHECK(delta.has_value());
    VARVE_CHECK(wal::redo::apply(block.block, *next, *delta).ok());
    pages[block.block.block] = next;
    pages_[block.block][end_] = next;
    if (pages.size() != before || !sizes_.contains(fork)) note_size(fork);
  }

  void note_size(const ForkId& fork) {
    sizes_[fork][end_] = static_cast<uint32_t>(current_[fork].size());
  }
  void drop(const ForkId& fork) {
    current_.erase(fork);
    sizes_[fork][end_] = std::nullopt;
  }

  Lsn start_;
  wal::LogWriter writer_;
  Lsn end_;
  std::vector<uint8_t> log_;
  std::vector<Lsn> ends_;
  std::vector<Lsn> starts_;
  std::vector<std::pair<Lsn, int64_t>> times_;
  int64_t clock_ = 1000000;
  uint32_t next_xid_ = 700;
  std::map<uint32_t, bool> databases_;
  std::map<ForkId, std::vector<PageRef>> current_;
  std::map<ForkId, std::map<Lsn, std::optional<uint32_t>>> sizes_;
  std::map<wal::BlockId, std::map<Lsn, PageRef>> pages_;
  std::map<uint32_t, std::map<Lsn, PageRef>> clog_;
};

}  // namespace varve::storage::testing
