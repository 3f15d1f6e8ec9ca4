// An object store in a directory: what `varve run` uses on one machine.
//
// An object is a file that appears complete and durable or not at all: temporary file, sync,
// rename, sync of its directory. Keys are not paths, since "a" and "a/b" may both be objects, and
// ".." is a part like any other; so a part that is a directory ends in '+', and the last one in
// '~', two characters that no key has. Several processes may use one directory: temporary names are
// drawn.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "runtime/disk.h"
#include "runtime/object_store.h"
#include "runtime/random.h"

namespace varve::objects {

class DirStore final : public ObjectStore {
 public:
  // Objects lie below `disk`'s root. Both must outlive the store.
  DirStore(Disk& disk, Random& random) : disk_(disk), random_(random) {}

  // Exists when another content has the key. Parts of a key longer than 240 bytes are Invalid here.
  Mutation put(std::string_view key, std::vector<Bytes> content) override;
  Result<Bytes> get(std::string_view key, std::optional<ByteRange> range) override;
  Result<ObjectInfo> head(std::string_view key) override;
  Result<std::vector<ObjectInfo>> list(std::string_view prefix, std::string_view after,
                                       size_t limit) override;
  Mutation remove(std::vector<std::string> keys) override;

 private:
  struct Walk;
  Status walk(Walk& walk, const std::string& directory, const std::string& above);
  Status check_same(const std::string& path, std::string_view key,
                    const std::vector<Bytes>& content);
  Status make_durable_directory(const std::string& directory);
  Status write_temporary(const std::string& path, std::vector<Bytes> content);

  Disk& disk_;
  Random& random_;
  std::set<std::string, std::less<>> durable_directories_;
};

}  // namespace varve::objects
