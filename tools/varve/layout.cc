#include "tools/varve/layout.h"

#include <dirent.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "real_io/clock.h"
#include "real_io/syscalls.h"
#include "real_io/unique_fd.h"
#include "tools/varve/files.h"
#include "tools/varve/machine.h"

namespace varve::tool {
namespace {

constexpr int kFormat = 1;
constexpr uint16_t kFirstBase = 7600;
constexpr uint16_t kBlock = 500;
constexpr uint16_t kLastBase = 32768 - kBlock;
// What one base port brings along, besides the endpoints'.
constexpr std::array<uint16_t, 9> kOffsets = {0, 1, 10, 11, 20, 21, 30, 31, 50};

Status port_in_use(uint16_t port) {
  const std::string holder = port_holder(port);
  return Status(Code::kUnavailable,
                "port " + std::to_string(port) + " is in use by " +
                    (holder.empty() ? "a process that /proc does not tell of" : holder));
}

Result<uint16_t> choose_base(uint16_t wanted, const std::string& host) {
  const uint16_t last = wanted != 0 ? wanted : kLastBase;
  for (uint32_t base = wanted != 0 ? wanted : kFirstBase; base <= last; base += kBlock) {
    const auto taken = std::find_if(kOffsets.begin(), kOffsets.end(), [&](uint16_t offset) {
      return !port_is_free(host, static_cast<uint16_t>(base + offset));
    });
    if (taken == kOffsets.end()) return static_cast<uint16_t>(base);
    if (wanted != 0) {
      return port_in_use(static_cast<uint16_t>(base + *taken))
          .with_hint("name another block with --port, or none to take the first that is free");
    }
  }
  return Status(Code::kUnavailable, "no block of free ports below 32768");
}

std::string random_id() {
  TenantId id;  // any sixteen bytes
  if (::getrandom(id.bytes.data(), id.bytes.size(), 0) != 16) std::abort();
  return id.to_string();
}

Result<std::string> absolute(const std::string& directory) {
  if (directory.empty()) return Status(Code::kInvalid, "the data directory has no name");
  if (directory.front() == '/') return directory;
  char here[PATH_MAX];
  if (::getcwd(here, sizeof(here)) == nullptr) return os_error("no working directory", ".");
  return std::string(here) + "/" + directory;
}

bool is_empty(const std::string& directory) {
  DIR* open = ::opendir(directory.c_str());
  if (open == nullptr) return false;
  bool empty = true;
  while (const dirent* entry = ::readdir(open)) {
    const std::string name = entry->d_name;
    // What a user may put there first, and what a creation that a crash ended may have left.
    constexpr std::array<std::string_view, 6> kOurs = {
        ".", "..", "keys", "lock", "varve.toml", "installation.json.new"};
    if (std::find(kOurs.begin(), kOurs.end(), name) == kOurs.end()) empty = false;
  }
  (void)::closedir(open);
  return empty;
}

Status make_keys(const std::string& directory) {
  VARVE_TRY(make_directory(directory + "/keys", 0700));
  real_io::RealRandom random(real_io::kernel());
  const TokenSigner signer = TokenSigner::generate(random);
  const auto token = [&](TokenScope scope, const char* to) {
    TokenClaims claims;
    claims.scope = scope;
    claims.issued_to = to;
    return signer.sign(claims) + "\n";
  };
  VARVE_TRY(write_file(directory + "/keys/signing.pem", signer.to_pem(), 0600));
  VARVE_TRY(write_file(directory + "/keys/verifying.pem",
                       TokenVerifier::to_pem(signer.public_key()), 0644));
  VARVE_TRY(write_file(directory + "/keys/node.token", token(TokenScope::kNode, "node"), 0600));
  return write_file(directory + "/keys/admin.token", token(TokenScope::kAdmin, "admin"), 0600);
}

Result<std::string> read_token(const std::string& path) {
  VARVE_TRY_ASSIGN(std::string text, read_file(path));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

Result<std::string> Layout::prepare(const std::string& wanted) {
  VARVE_TRY_ASSIGN(const std::string directory, absolute(wanted));
  VARVE_TRY(make_directory(directory, 0755));
  struct stat found;
  if (::stat(directory.c_str(), &found) != 0) return os_error("cannot look at", directory);
  if (found.st_uid != ::geteuid()) {
    return Status(Code::kRefused, "the directory belongs to user number " +
                                      std::to_string(found.st_uid) + ", and this is user number " +
                                      std::to_string(::geteuid()))
        .with_object(directory)
        .with_hint("run as its owner, or name another directory with --data");
  }
  if (!exists(directory + "/installation.json") && !is_empty(directory)) {
    return Status(Code::kRefused, "the directory holds files that are not Varve's")
        .with_object(directory)
        .with_hint("name an empty or a new directory with --data");
  }
  return directory;
}

Result<Layout> Layout::create_or_open(const std::string& wanted, const LayoutOptions& options) {
  VARVE_TRY_ASSIGN(const std::string directory, prepare(wanted));
  if (exists(directory + "/installation.json")) {
    VARVE_TRY_ASSIGN(Layout layout, open(directory));
    if (layout.listen_ == options.listen) return layout;
    layout.listen_ = options.listen;
    VARVE_TRY(layout.save());
    return layout;
  }
  VARVE_TRY_ASSIGN(const uint16_t base, choose_base(options.base_port, options.listen));
  VARVE_TRY(make_keys(directory));
  // Last: with it the directory is made.
  VARVE_TRY(Layout(directory, random_id(), base, options.listen).save());
  return open(directory);
}

Status Layout::save() const {
  const nlohmann::json json = {
      {"format", kFormat}, {"id", id_}, {"listen", listen_}, {"base_port", base_port_}};
  return write_file(path("installation.json"), json.dump(2) + "\n", 0644);
}

Result<Layout> Layout::open(const std::string& wanted) {
  VARVE_TRY_ASSIGN(const std::string directory, absolute(wanted));
  const std::string path = directory + "/installation.json";
  if (!exists(path)) {
    return Status(Code::kNotFound, "no Varve was made here")
        .with_object(directory)
        .with_hint("`varve up --data DIR` makes one");
  }
  VARVE_TRY_ASSIGN(const std::string text, read_file(path));
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  const auto number = [&](const char* key) -> int64_t {
    return json.is_object() && json.contains(key) && json[key].is_number_integer()
               ? json[key].get<int64_t>()
               : -1;
  };
  const auto word = [&](const char* key) -> std::string {
    return json.is_object() && json.contains(key) && json[key].is_string()
               ? json[key].get<std::string>()
               : "";
  };
  if (number("format") > kFormat) {
    return Status(Code::kUnsupported,
                  "made by a newer Varve (format " + std::to_string(number("format")) + ")")
        .with_object(path);
  }
  const int64_t base = number("base_port");
  if (number("format") != kFormat || base < 1024 || base > 65535 - kBlock ||
      !TenantId::parse(word("id")).has_value() || word("listen").empty()) {
    return Status(Code::kCorrupt, "is not what Varve wrote there")
        .with_object(path)
        .with_hint("restore it from a copy; nothing else in the directory depends on its bytes");
  }
  return Layout(directory, word("id"), static_cast<uint16_t>(base), word("listen"));
}

Result<TokenVerifier> Layout::verifier() const {
  VARVE_TRY_ASSIGN(const std::string pem, read_file(path("keys/verifying.pem")));
  return TokenVerifier::from_pem(pem);
}

Result<TokenSigner> Layout::signer() const {
  VARVE_TRY_ASSIGN(const std::string pem, read_file(path("keys/signing.pem")));
  return TokenSigner::from_pem(pem);
}

Result<std::string> Layout::node_token() const {
  return read_token(path("keys/node.token"));
}

Result<std::string> Layout::admin_token() const {
  return read_token(path("keys/admin.token"));
}

Status Layout::check_ports() const {
  for (const uint16_t offset : kOffsets) {
    const auto port = static_cast<uint16_t>(base_port_ + offset);
    if (port_is_free(listen_, port)) continue;
    return port_in_use(port).with_hint(
        "end that program; the ports of a data directory stay what they were when it was made");
  }
  return Status();
}

std::string reachable_host(const std::string& listen) {
  if (listen == "0.0.0.0") return "127.0.0.1";
  return listen == "::" ? "::1" : listen;
}

Result<std::string> executable_path() {
  char path[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof(path));
  if (n < 0) return os_error("cannot read", "/proc/self/exe");
  return std::string(path, static_cast<size_t>(n));
}

Result<std::string> shim_path() {
  VARVE_TRY_ASSIGN(const std::string executable, executable_path());
  const std::string folder = executable.substr(0, executable.rfind('/'));
  for (const char* place : {"/libvarve_shim.so", "/../lib/varve/libvarve_shim.so"}) {
    if (exists(folder + place)) return folder + place;
  }
  return Status(Code::kNotFound,
                "libvarve_shim.so is neither beside the executable nor in lib/varve")
      .with_object(folder)
      .with_hint("no Postgres is started without it; build or install it again");
}

}  // namespace varve::tool
