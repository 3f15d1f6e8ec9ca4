#include "sim/objects.h"

#include "base/crc32c.h"

namespace varve::sim {

class LifeObjects : public ObjectStore {
 public:
  LifeObjects(ObjectModelStore& store, Life& life) : store_(store), life_(life) {}

  Mutation put(std::string_view key, std::vector<Bytes> content) override;
  Result<Bytes> get(std::string_view key, std::optional<ByteRange> range) override;
  Result<ObjectInfo> head(std::string_view key) override;
  Result<std::vector<ObjectInfo>> list(std::string_view prefix, std::string_view after,
                                       size_t limit) override;
  Mutation remove(std::vector<std::string> keys) override;

 private:
  Duration latency() {
    return life_.engine.around(life_.engine.plan.objects.latency, store_.random_);
  }
  Status refuse();
  Mutation mutate(const char* label, std::function<void()> effect, uint64_t detail, uint64_t size,
                  uint32_t crc);

  ObjectModelStore& store_;
  Life& life_;
};

ObjectModelStore::ObjectModelStore(Engine& engine)
    : engine_(engine), random_(engine.random("objects")) {}

std::unique_ptr<ObjectStore> ObjectModelStore::open_for(Life& life) {
  return std::make_unique<LifeObjects>(*this, life);
}

void ObjectModelStore::check_put(const std::string& key, const Bytes& content) {
  const uint64_t hash = hash_label(content.view());
  if (ever_removed_.contains(key))
    engine_.violation("object store law: '" + key + "' is put again after a removal");
  const auto [known, fresh] = ever_put_.emplace(key, hash);
  if (!fresh && known->second != hash)
    engine_.violation("object store law: '" + key + "' is put with another content");
}

void ObjectModelStore::apply_put(const std::string& key, const Bytes& content) {
  objects_.insert_or_assign(key, content);
}

void ObjectModelStore::perhaps(std::function<void()> effect, Life& life) {
  life.faulted = true;
  switch (random_.below(3)) {
    case 0:
      engine_.fault(FaultKind::kObjectAmbiguous, &life);
      return;  // lost on the way
    case 1:
      engine_.fault(FaultKind::kObjectAmbiguous, &life);
      effect();
      return;
    default:
      break;
  }
  const auto most = static_cast<uint64_t>(engine_.plan.objects.late_maximum.nanoseconds);
  const Duration late = Duration::nanos(static_cast<int64_t>(random_.below(most + 1)));
  engine_.after(late, nullptr, [this, effect = std::move(effect), &life] {
    engine_.fault(FaultKind::kObjectLate, &life);
    effect();
  });
}

Status LifeObjects::refuse() {
  Engine& engine = life_.engine;
  if (store_.random_.chance(engine.plan.objects.throttle_rate)) {
    engine.fault(FaultKind::kObjectThrottle, &life_);
    return Status(Code::kUnavailable, "the object store asks to slow down");
  }
  if (store_.random_.chance(engine.plan.objects.error_rate)) {
    engine.fault(FaultKind::kObjectError, &life_);
    return Status(Code::kUnavailable, "the object store failed");
  }
  return Status();
}

// The call is over when its event has happened. A caller that leaves before knows nothing: the
// event happens all the same, and if it dies the request may be under way, so it may happen at any
// later moment.
Mutation LifeObjects::mutate(const char* label, std::function<void()> effect, uint64_t detail,
                             uint64_t size, uint32_t crc) {
  Status before = check_cancelled();
  if (!before.ok()) return Mutation{std::move(before), false};
  struct State {
    Completion completion;
    Mutation outcome;
  };
  auto state = std::make_shared<State>();
  // Not an event of the life: a request that was sent outlives its sender.
  life_.engine.after(
      latency(), nullptr, [this, state, effect = std::move(effect), detail, size, crc] {
        Engine& engine = life_.engine;
        if (!life_.alive) {
          store_.perhaps(effect, life_);
          return;
        }
        Status refused = refuse();
        if (!refused.ok()) {
          state->outcome.status = std::move(refused);
        } else if (store_.random_.chance(engine.plan.objects.ambiguous_rate)) {
          store_.perhaps(effect, life_);
          state->outcome.status = Status(Code::kUnavailable, "no answer from the object store");
          state->outcome.maybe_applied = true;
        } else {
          effect();
        }
        engine.record(&life_, EventKind::kObject, detail, size, crc);
        state->completion.complete(life_);
      });
  Status waited = state->completion.wait(life_, label);
  if (!waited.ok()) return Mutation{std::move(waited), true};
  return std::move(state->outcome);
}

Mutation LifeObjects::put(std::string_view key, std::vector<Bytes> content) {
  Status valid = check_object_key(key);
  if (!valid.ok()) return Mutation{std::move(valid), false};
  // A copy of its own: `content` may be slices of slabs that the caller's budget wants back.
  const Bytes whole = concatenate(content);
  const Bytes bytes = Bytes::copy(whole.span());
  const std::string name(key);
  store_.check_put(name, bytes);
  return mutate(
      "put of an object", [&store = store_, name, bytes] { store.apply_put(name, bytes); },
      hash_label(key), bytes.size(), crc32c(bytes));
}

Mutation LifeObjects::remove(std::vector<std::string> keys) {
  uint64_t detail = 0;
  for (const std::string& key : keys) {
    Status valid = check_object_key(key);
    if (!valid.ok()) return Mutation{std::move(valid), false};
    detail = mix64(detail ^ hash_label(key));
  }
  store_.ever_removed_.insert(keys.begin(), keys.end());
  const uint64_t count = keys.size();
  return mutate(
      "removal of objects",
      [&store = store_, keys = std::move(keys)] {
        for (const std::string& key : keys) store.apply_remove(key);
      },
      detail, count, 0);
}

Result<Bytes> LifeObjects::get(std::string_view key, std::optional<ByteRange> range) {
  VARVE_TRY(check_object_key(key));
  return perform<Bytes>(
      life_, "get of an object", latency(),
      [this, name = std::string(key), range]() -> Result<Bytes> {
        VARVE_TRY(refuse());
        const auto found = store_.objects_.find(name);
        if (found == store_.objects_.end())
          return Status(Code::kNotFound, "no such object").with_object(name);
        Bytes content = found->second;
        if (range) {
          if (range->offset > content.size() || range->length > content.size() - range->offset) {
            return Status(Code::kInvalid, "the range does not lie inside the object")
                .with_object(name);
          }
          content = content.slice(range->offset, range->length);
        }
        life_.engine.record(&life_, EventKind::kObject, hash_label(name), content.size(),
                            crc32c(content));
        return content;
      });
}

Result<ObjectInfo> LifeObjects::head(std::string_view key) {
  VARVE_TRY(check_object_key(key));
  return perform<ObjectInfo>(life_, "head of an object", latency(),
                             [this, name = std::string(key)]() -> Result<ObjectInfo> {
                               VARVE_TRY(refuse());
                               const auto found = store_.objects_.find(name);
                               if (found == store_.objects_.end())
                                 return Status(Code::kNotFound, "no such object").with_object(name);
                               life_.engine.record(&life_, EventKind::kObject, hash_label(name),
                                                   found->second.size());
                               return ObjectInfo{name, found->second.size()};
                             });
}

Result<std::vector<ObjectInfo>> LifeObjects::list(std::string_view prefix, std::string_view after,
                                                  size_t limit) {
  if (limit == 0 || limit > 1000) return Status(Code::kInvalid, "a list asks for 1 to 1,000 keys");
  return perform<std::vector<ObjectInfo>>(
      life_, "list of objects", latency(),
      [this, prefix = std::string(prefix), after = std::string(after),
       limit]() -> Result<std::vector<ObjectInfo>> {
        VARVE_TRY(refuse());
        std::vector<ObjectInfo> found;
        for (auto it = store_.objects_.lower_bound(std::max(prefix, after));
             it != store_.objects_.end(); ++it) {
          if (found.size() == limit || !it->first.starts_with(prefix)) break;
          if (it->first == after) continue;
          found.push_back({it->first, it->second.size()});
        }
        life_.engine.record(&life_, EventKind::kObject, hash_label(prefix), found.size());
        return found;
      });
}

}  // namespace varve::sim
