#include "storage/remote/index.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <charconv>

#include "base/envelope.h"
#include "proto/storage_index.pb.h"

namespace varve::storage {
namespace {

constexpr EnvelopeType kIndexType{"timeline-index", 1, 1};
constexpr std::string_view kIndexName = "index-";
constexpr size_t kHexWidth = 16;

std::string hex16(uint64_t value) {
  std::string text(kHexWidth, '0');
  for (size_t i = kHexWidth; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

void set_key(std::string* field, const Key& key) {
  field->assign(reinterpret_cast<const char*>(key.bytes.data()), kKeySize);
}

bool get_key(const std::string& field, Key& key) {
  if (field.size() != kKeySize) return false;
  std::memcpy(key.bytes.data(), field.data(), kKeySize);
  return true;
}

void set_position(proto::Position* field, const LogPosition& position) {
  field->set_boundary(position.boundary.value);
  field->set_previous(position.previous.value);
  field->set_newest_time(position.newest.microseconds);
}

LogPosition get_position(const proto::Position& field) {
  return {Lsn(field.boundary()), Lsn(field.previous()), WallTime{field.newest_time()}};
}

Result<LayerRef> get_layer(const proto::Layer& field) {
  auto layer = std::make_shared<LayerDescriptor>();
  layer->kind = static_cast<LayerKind>(field.kind());
  layer->lsn = {Lsn(field.lsn_start()), Lsn(field.lsn_end())};
  layer->generation = Generation(field.generation());
  layer->number = field.number();
  layer->size = field.size();
  layer->entries = field.entries();
  if (field.kind() > 1 || !get_key(field.key_start(), layer->keys.start) ||
      !get_key(field.key_end(), layer->keys.end) || layer->keys.empty() || layer->lsn.empty()) {
    return Status(Code::kCorrupt, "a layer in it makes no sense");
  }
  return LayerRef(std::move(layer));
}

std::vector<uint8_t> serialize(const proto::TimelineIndex& message) {
  std::vector<uint8_t> payload(message.ByteSizeLong());
  google::protobuf::io::ArrayOutputStream array(payload.data(), static_cast<int>(payload.size()));
  google::protobuf::io::CodedOutputStream out(&array);
  out.SetSerializationDeterministic(true);
  VARVE_CHECK(message.SerializeToCodedStream(&out));
  return payload;
}

}  // namespace

Bytes encode_index(const TenantId& tenant, const TimelineId& timeline, const TimelineIndex& index) {
  proto::TimelineIndex message;
  proto::Cluster* cluster = message.mutable_cluster();
  cluster->set_postgres_major(index.cluster.postgres_major);
  cluster->set_system_id(index.cluster.system_id);
  cluster->set_segment_size(index.cluster.segment_size);
  cluster->set_data_checksums(index.cluster.data_checksums);
  set_position(message.mutable_start(), index.start);
  set_position(message.mutable_flushed(), index.flushed);
  if (index.ancestor) {
    message.set_ancestor(index.ancestor->bytes.data(), index.ancestor->bytes.size());
  }
  for (const LayerRef& layer : index.layers) {
    proto::Layer* field = message.add_layers();
    field->set_kind(static_cast<uint32_t>(layer->kind));
    set_key(field->mutable_key_start(), layer->keys.start);
    set_key(field->mutable_key_end(), layer->keys.end);
    field->set_lsn_start(layer->lsn.start.value);
    field->set_lsn_end(layer->lsn.end.value);
    field->set_generation(layer->generation.value);
    field->set_number(layer->number);
    field->set_size(layer->size);
    field->set_entries(layer->entries);
  }
  return seal(kIndexType, tenant, timeline, serialize(message));
}

Result<TimelineIndex> decode_index(const TenantId& tenant, const TimelineId& timeline,
                                   const Bytes& bytes, std::string_view object) {
  const auto corrupt = [&](const char* what) {
    return Status(Code::kCorrupt, what).with_object(std::string(object));
  };
  VARVE_TRY_ASSIGN(const Envelope envelope, open_envelope(kIndexType, bytes, object));
  if (envelope.tenant != tenant || envelope.timeline != timeline) {
    return corrupt("the index belongs to another timeline");
  }
  proto::TimelineIndex message;
  if (!message.ParseFromArray(envelope.payload.data(), static_cast<int>(envelope.payload.size()))) {
    return corrupt("the index does not parse");
  }
  TimelineIndex index;
  index.cluster.postgres_major = static_cast<uint16_t>(message.cluster().postgres_major());
  index.cluster.system_id = message.cluster().system_id();
  index.cluster.segment_size = message.cluster().segment_size();
  index.cluster.data_checksums = message.cluster().data_checksums();
  index.start = get_position(message.start());
  index.flushed = get_position(message.flushed());
  if (!message.ancestor().empty()) {
    if (message.ancestor().size() != 16) return corrupt("the ancestor's id has another length");
    index.ancestor.emplace();
    std::memcpy(index.ancestor->bytes.data(), message.ancestor().data(), 16);
  }
  for (const proto::Layer& field : message.layers()) {
    Result<LayerRef> layer = get_layer(field);
    if (!layer.ok()) return layer.status().with_object(std::string(object));
    index.layers.push_back(std::move(*layer));
  }
  return index;
}

std::string timeline_prefix(const TenantShardId& tenant, const TimelineId& timeline) {
  return "tenants/" + tenant.to_string() + "/timelines/" + timeline.to_string() + "/";
}

std::string deletion_marks(const TenantShardId& tenant) {
  return "tenants/" + tenant.to_string() + "/deleted/";
}

std::string deletion_mark(const TenantShardId& tenant, const TimelineId& timeline) {
  return deletion_marks(tenant) + timeline.to_string();
}

std::string index_prefix(const std::string& prefix) {
  return prefix + std::string(kIndexName);
}

std::string index_key(const std::string& prefix, Generation generation, uint64_t sequence) {
  return prefix + std::string(kIndexName) + hex16(generation.value) + "-" + hex16(sequence);
}

Result<std::optional<FoundIndex>> find_index(ObjectStore& objects, const std::string& prefix,
                                             Generation generation) {
  constexpr size_t kPage = 1000;
  std::optional<FoundIndex> newest;
  std::string after;
  for (;;) {
    VARVE_TRY_ASSIGN(const std::vector<ObjectInfo> page,
                     objects.list(prefix + std::string(kIndexName), after, kPage));
    for (const ObjectInfo& object : page) {
      const size_t numbers = prefix.size() + kIndexName.size();
      if (object.key.size() != numbers + 2 * kHexWidth + 1) continue;
      const char* p = object.key.data() + numbers;
      FoundIndex found{object.key, {}, 0};
      std::from_chars(p, p + kHexWidth, found.generation.value, 16);
      std::from_chars(p + kHexWidth + 1, p + 2 * kHexWidth + 1, found.sequence, 16);
      if (index_key(prefix, found.generation, found.sequence) != object.key) continue;
      if (found.generation <= generation) newest = std::move(found);  // the listing is sorted
    }
    if (page.size() < kPage) return newest;
    after = page.back().key;
  }
}

}  // namespace varve::storage
