// A data directory: where each process has its files, its port and its key. docs/processes.md is
// the page on it.
//
// Plain calls of the operating system: read once at a process' start, before its world exists.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "runtime/network.h"
#include "wire/token.h"

namespace varve::tool {

inline constexpr NodeId kSupervisorNode{1};
inline constexpr NodeId kControlNode{2};
inline constexpr uint64_t kFirstSafekeeperNode = 11;
inline constexpr int kSafekeepers = 3;
inline constexpr NodeId kPageserverNode{21};

struct LayoutOptions {
  uint16_t base_port = 0;  // 0: the first free block
  // Where servers listen, and where they are found. A directory that was made takes it over.
  std::string listen = "127.0.0.1";
};

class Layout {
 public:
  // The absolute path of a directory that is, or may become, Varve's; it is made if there is none.
  // Refused when it holds something else or belongs to another user.
  static Result<std::string> prepare(const std::string& directory);
  // Makes a new directory or opens one that was made. Everything is durable after success. Refused
  // when the directory holds something else or belongs to another user; Unavailable when a port is
  // in use (at creation only).
  static Result<Layout> create_or_open(const std::string& directory, const LayoutOptions& options);
  // NotFound, with what to do, when nothing was made there.
  static Result<Layout> open(const std::string& directory);

  const std::string& directory() const { return directory_; }  // absolute
  const std::string& id() const { return id_; }                // 32 hexadecimal digits
  std::string path(const std::string& below) const { return directory_ + "/" + below; }
  std::string objects() const { return path("objects"); }
  std::string computes() const { return path("computes"); }
  std::string log(const std::string& process) const { return path("log/" + process + ".log"); }
  std::string settings() const { return path("varve.toml"); }  // may not exist

  Address control() const { return at(0); }
  Address supervisor() const { return at(1); }
  // `number` counts from 1.
  Address safekeeper_rpc(int number) const { return at(static_cast<uint16_t>(10 * number)); }
  Address safekeeper_wal(int number) const { return at(static_cast<uint16_t>(10 * number + 1)); }
  Address pageserver() const { return at(50); }
  uint16_t first_endpoint_port() const { return static_cast<uint16_t>(base_port_ + 100); }
  uint16_t last_endpoint_port() const { return static_cast<uint16_t>(base_port_ + 499); }

  // Unavailable, naming port and holder, when a daemon could not listen. Endpoints' ports are not
  // looked at.
  Status check_ports() const;

  Result<TokenVerifier> verifier() const;
  Result<TokenSigner> signer() const;  // control's alone
  Result<std::string> node_token() const;
  Result<std::string> admin_token() const;

 private:
  Layout(std::string directory, std::string id, uint16_t base_port, std::string listen)
      : directory_(std::move(directory)),
        id_(std::move(id)),
        base_port_(base_port),
        listen_(std::move(listen)) {}
  Status save() const;
  Address at(uint16_t offset) const {
    return Address{listen_, static_cast<uint16_t>(base_port_ + offset)};
  }

  std::string directory_;
  std::string id_;
  uint16_t base_port_;
  std::string listen_;
};

// Where this machine finds what listens on `listen`: for all addresses, which nobody can connect
// to, the loopback one.
std::string reachable_host(const std::string& listen);

// The folder of the running executable, and what lies beside it (the shim).
Result<std::string> executable_path();
Result<std::string> shim_path();

}  // namespace varve::tool
