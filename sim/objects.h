// A model of an object store shared by all nodes, which also keeps the law that makes late
// operations harmless: a name is PUT with one content only, and never again after a DELETE. A run
// that breaks the law has failed, whether a late operation made something of it or not.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "runtime/object_store.h"
#include "sim/life.h"

namespace varve::sim {

class ObjectModelStore {
 public:
  explicit ObjectModelStore(Engine& engine);
  // The view of one life. Life and store must outlive it.
  std::unique_ptr<ObjectStore> open_for(Life& life);

  // What is there now, for oracles: key -> content.
  const std::map<std::string, Bytes, std::less<>>& objects() const { return objects_; }

 private:
  friend class LifeObjects;
  void check_put(const std::string& key, const Bytes& content);
  void apply_put(const std::string& key, const Bytes& content);
  void apply_remove(const std::string& key) { objects_.erase(key); }
  // What an ambiguous mutation does: now, later or never.
  void perhaps(std::function<void()> effect, Life& life);

  Engine& engine_;
  RandomStream random_;
  std::map<std::string, Bytes, std::less<>> objects_;
  std::map<std::string, uint64_t> ever_put_;  // key -> hash of its one content
  std::set<std::string> ever_removed_;
};

}  // namespace varve::sim
