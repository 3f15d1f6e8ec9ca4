#include "runtime/object_store.h"

#include <algorithm>

namespace varve {

Status check_object_key(std::string_view key) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '/';
  };
  const bool good = !key.empty() && key.size() <= 1024 && key.front() != '/' && key.back() != '/' &&
                    std::all_of(key.begin(), key.end(), allowed) &&
                    key.find("//") == std::string_view::npos &&
                    key.find("..") == std::string_view::npos;
  if (good) return Status();
  return Status(Code::kInvalid, "'" + std::string(key.substr(0, 100)) + "' is no object key");
}

}  // namespace varve
