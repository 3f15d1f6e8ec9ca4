// What storage keeps versions of: one page of one relation fork, one status page, or one piece of
// metadata.
//
// A key is 18 bytes that compare as memcmp does, big-endian fields after a byte that says the kind:
//
//   kind u8 | a u32 | b u32 | c u32 | d u8 | e u32
//
//   kBlock             tablespace, database, relation, fork, block
//   kSlruBlock         which file, page
//   kRelationSize      tablespace, database, relation, fork      (this is also the directory)
//   kDatabase          tablespace, database
//   kRelationMap       tablespace, database
//   kSlruSegment       which file, segment
//   kTwoPhase          full xid, high and low half
//   kReplicationOrigin origin
//   kTablespace        tablespace
//   kLogChunk          number of the piece of log, high and low half
//   kCheckpointState, kControlFile
//   kQuarantine        LSN of the record, high and low half
//
// Kinds up to kSlruBlock are dense: a size says which of them exist, and one that exists and can't
// be found is lost data. All others are sparse: what is not there does not exist, and there are no
// lists of them that grow with their number, so that the ten-thousandth table costs what the first
// did.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/codec.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "wal/record.h"
#include "wal/slru.h"

namespace varve::storage {

enum class KeyKind : uint8_t {
  kBlock = 0x00,
  kSlruBlock = 0x10,
  kRelationSize = 0x20,
  kDatabase = 0x21,
  kRelationMap = 0x22,
  kSlruSegment = 0x23,
  kTwoPhase = 0x24,
  kReplicationOrigin = 0x25,
  kTablespace = 0x26,
  kLogChunk = 0x30,
  kCheckpointState = 0x31,
  kControlFile = 0x32,
  kQuarantine = 0x40,
};
inline constexpr KeyKind kFirstSparseKind = KeyKind::kRelationSize;

// Oids of the two tablespaces that there are; the second holds what all databases share.
inline constexpr uint32_t kDefaultTablespace = 1663;
inline constexpr uint32_t kGlobalTablespace = 1664;

inline constexpr size_t kKeySize = 18;

struct Key {
  std::array<uint8_t, kKeySize> bytes{};

  std::strong_ordering operator<=>(const Key& o) const {
    // As the bytes compare. Trees of keys are walked for every value that is stored or read, and a
    // call of memcmp costs more than such a step.
    const std::strong_ordering first = word(0) <=> o.word(0);
    if (first != 0) return first;
    const std::strong_ordering second = word(8) <=> o.word(8);
    if (second != 0) return second;
    return load_be<uint16_t>(bytes.data() + 16) <=> load_be<uint16_t>(o.bytes.data() + 16);
  }
  bool operator==(const Key& o) const = default;

  static Key make(KeyKind kind, uint32_t a = 0, uint32_t b = 0, uint32_t c = 0, uint8_t d = 0,
                  uint32_t e = 0);
  static Key block(const wal::BlockId& id) {
    return make(KeyKind::kBlock, id.relation.tablespace, id.relation.database, id.relation.relation,
                static_cast<uint8_t>(id.fork), id.block);
  }
  static Key slru_block(wal::SlruPage page) {
    return make(KeyKind::kSlruBlock, static_cast<uint32_t>(page.slru), page.page);
  }
  static Key relation_size(const wal::RelationId& relation, wal::Fork fork) {
    return make(KeyKind::kRelationSize, relation.tablespace, relation.database, relation.relation,
                static_cast<uint8_t>(fork));
  }
  static Key database(uint32_t tablespace, uint32_t database) {
    return make(KeyKind::kDatabase, tablespace, database);
  }
  static Key relation_map(uint32_t tablespace, uint32_t database) {
    return make(KeyKind::kRelationMap, tablespace, database);
  }
  static Key slru_segment(wal::Slru slru, uint32_t segment) {
    return make(KeyKind::kSlruSegment, static_cast<uint32_t>(slru), segment);
  }
  static Key wide(KeyKind kind, uint64_t number) {
    return make(kind, static_cast<uint32_t>(number >> 32), static_cast<uint32_t>(number));
  }
  static Key two_phase(uint64_t full_xid) { return wide(KeyKind::kTwoPhase, full_xid); }
  static Key log_chunk(uint64_t number) { return wide(KeyKind::kLogChunk, number); }
  static Key quarantine(Lsn lsn) { return wide(KeyKind::kQuarantine, lsn.value); }
  // Smaller than every key and greater than every key.
  static Key lowest() { return Key{}; }
  static Key highest();

  // Eight bytes from `at` on, big-endian.
  uint64_t word(size_t at) const { return load_be<uint64_t>(bytes.data() + at); }
  KeyKind kind() const { return static_cast<KeyKind>(bytes[0]); }
  uint32_t a() const { return load_be<uint32_t>(bytes.data() + 1); }
  uint32_t b() const { return load_be<uint32_t>(bytes.data() + 5); }
  uint32_t c() const { return load_be<uint32_t>(bytes.data() + 9); }
  uint8_t d() const { return bytes[13]; }
  uint32_t e() const { return load_be<uint32_t>(bytes.data() + 14); }
  uint64_t wide_number() const { return uint64_t{a()} << 32 | b(); }

  bool is_sparse() const { return bytes[0] >= static_cast<uint8_t>(kFirstSparseKind); }
  // Invariant of these: the key is of that kind.
  wal::BlockId to_block() const;
  wal::SlruPage to_slru_page() const;

  // The next key in order, by counting up the bytes as one number. Invariant: not the highest.
  Key successor() const;

  // 36 hexadecimal digits, in order as the keys are.
  std::string to_hex() const;
  static std::optional<Key> parse_hex(std::string_view text);
  // For people: "1663/5/16384 main block 7", "pg_xact page 3", "size of 1663/5/16384 main".
  std::string to_string() const;
};

// [start, end).
struct KeyRange {
  Key start;
  Key end;
  auto operator<=>(const KeyRange&) const = default;
  bool contains(const Key& key) const { return start <= key && key < end; }
  bool overlaps(const KeyRange& o) const { return start < o.end && o.start < end; }
  bool empty() const { return !(start < end); }

  static KeyRange all() { return {Key::lowest(), Key::highest()}; }
  // Every key of a kind, and those of a kind that share a first or first two fields.
  static KeyRange of_kind(KeyKind kind);
  static KeyRange of_kind(KeyKind kind, uint32_t a);
  static KeyRange of_kind(KeyKind kind, uint32_t a, uint32_t b);
};

// Which shard of `shards` keeps a key; pages of relations are spread by (relation, stripe of
// `stripe_blocks` blocks), everything else and init forks are shard 0's. All forks of a block
// number go together. Relation sizes are kept by every shard (is_global_key). Invariant: shards >
// 0.
uint8_t shard_of(const Key& key, uint8_t shards, uint32_t stripe_blocks);
// Kept by every shard besides shard_of(): what each must know to judge its own pages.
bool is_global_key(const Key& key);

}  // namespace varve::storage
