#include "storage/key.h"

#include "base/check.h"

namespace varve::storage {
namespace {

constexpr const char* kForkNames[] = {"main", "fsm", "vm", "init"};

uint32_t murmur_finalizer(uint32_t h) {
  h ^= h >> 16;
  h *= 0x85EBCA6B;
  h ^= h >> 13;
  h *= 0xC2B2AE35;
  return h ^ h >> 16;
}

uint32_t combine(uint32_t seed, uint32_t value) {
  return seed ^ (value + 0x9E3779B9 + (seed << 6) + (seed >> 2));
}

std::string relation_of(const Key& key) {
  return wal::RelationId{key.a(), key.b(), key.c()}.to_string() + " " +
         (key.d() < 4 ? kForkNames[key.d()] : "?");
}

}  // namespace

Key Key::make(KeyKind kind, uint32_t a, uint32_t b, uint32_t c, uint8_t d, uint32_t e) {
  Key key;
  key.bytes[0] = static_cast<uint8_t>(kind);
  store_be(key.bytes.data() + 1, a);
  store_be(key.bytes.data() + 5, b);
  store_be(key.bytes.data() + 9, c);
  key.bytes[13] = d;
  store_be(key.bytes.data() + 14, e);
  return key;
}

Key Key::highest() {
  Key key;
  key.bytes.fill(0xFF);
  return key;
}

wal::BlockId Key::to_block() const {
  VARVE_CHECK(kind() == KeyKind::kBlock);
  return {{a(), b(), c()}, static_cast<wal::Fork>(d()), e()};
}

wal::SlruPage Key::to_slru_page() const {
  VARVE_CHECK(kind() == KeyKind::kSlruBlock);
  return {static_cast<wal::Slru>(a()), b()};
}

Key Key::successor() const {
  Key next = *this;
  for (size_t i = kKeySize; i-- > 0;) {
    if (++next.bytes[i] != 0) return next;
  }
  VARVE_UNREACHABLE("the highest key has no successor");
}

std::string Key::to_hex() const {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string text;
  text.reserve(2 * kKeySize);
  for (uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

std::optional<Key> Key::parse_hex(std::string_view text) {
  if (text.size() != 2 * kKeySize) return std::nullopt;
  Key key;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    uint8_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint8_t>(c - '0');
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint8_t>(c - 'A' + 10);
    } else {
      return std::nullopt;
    }
    key.bytes[i / 2] = static_cast<uint8_t>(key.bytes[i / 2] << 4 | digit);
  }
  return key;
}

std::string Key::to_string() const {
  const std::string pair = std::to_string(a()) + "/" + std::to_string(b());
  switch (kind()) {
    case KeyKind::kBlock:
      return relation_of(*this) + " block " + std::to_string(e());
    case KeyKind::kSlruBlock:
    case KeyKind::kSlruSegment: {
      if (a() > static_cast<uint32_t>(wal::Slru::kMultiXactMember)) break;
      const char* directory = wal::slru_directory(static_cast<wal::Slru>(a()));
      return std::string(directory) + (kind() == KeyKind::kSlruBlock ? " page " : " segment ") +
             std::to_string(b());
    }
    case KeyKind::kRelationSize:
      return "size of " + relation_of(*this);
    case KeyKind::kDatabase:
      return "database " + pair;
    case KeyKind::kRelationMap:
      return "relation map of " + pair;
    case KeyKind::kTwoPhase:
      return "prepared transaction " + std::to_string(wide_number());
    case KeyKind::kReplicationOrigin:
      return "replication origin " + std::to_string(a());
    case KeyKind::kTablespace:
      return "tablespace " + std::to_string(a());
    case KeyKind::kLogChunk:
      return "log chunk " + std::to_string(wide_number());
    case KeyKind::kCheckpointState:
      return "checkpoint state";
    case KeyKind::kControlFile:
      return "control file";
    case KeyKind::kQuarantine:
      return "quarantine at " + Lsn(wide_number()).to_string();
  }
  return "key " + to_hex();
}

KeyRange KeyRange::of_kind(KeyKind kind) {
  Key end = Key::make(kind);
  ++end.bytes[0];
  return {Key::make(kind), end};
}

KeyRange KeyRange::of_kind(KeyKind kind, uint32_t a) {
  return {Key::make(kind, a), a == UINT32_MAX ? of_kind(kind).end : Key::make(kind, a + 1)};
}

KeyRange KeyRange::of_kind(KeyKind kind, uint32_t a, uint32_t b) {
  return {Key::make(kind, a, b),
          b == UINT32_MAX ? of_kind(kind, a).end : Key::make(kind, a, b + 1)};
}

uint8_t shard_of(const Key& key, uint8_t shards, uint32_t stripe_blocks) {
  VARVE_CHECK(shards > 0 && stripe_blocks > 0);
  if (shards == 1 || key.kind() != KeyKind::kBlock) return 0;
  if (key.d() == static_cast<uint8_t>(wal::Fork::kInit)) return 0;
  const uint32_t hash =
      combine(murmur_finalizer(key.c()), murmur_finalizer(key.e() / stripe_blocks));
  return static_cast<uint8_t>(hash % shards);
}

bool is_global_key(const Key& key) {
  switch (key.kind()) {
    case KeyKind::kRelationSize:
    case KeyKind::kDatabase:
    case KeyKind::kLogChunk:
    case KeyKind::kCheckpointState:
      return true;
    case KeyKind::kBlock:
    case KeyKind::kSlruBlock:
    case KeyKind::kRelationMap:
    case KeyKind::kSlruSegment:
    case KeyKind::kTwoPhase:
    case KeyKind::kReplicationOrigin:
    case KeyKind::kTablespace:
    case KeyKind::kControlFile:
    case KeyKind::kQuarantine:
      return false;
  }
  return false;
}

}  // namespace varve::storage
