// Addresses as the kernel has them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <optional>
#include <vector>

#include "real_io/thread_pool.h"
#include "runtime/network.h"

namespace varve::real_io {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  // With a literal as host.
  Address to_address() const;
};

// "" and "localhost" are 127.0.0.1; IPv4 and IPv6 literals (in brackets or not) are themselves.
// Nothing when `host` is a name.
std::optional<SocketAddress> parse_literal(const std::string& host, uint16_t port);

// All addresses of `address`, in the resolver's order; suspends for names only. NotFound when there
// is none.
Result<std::vector<SocketAddress>> resolve(ThreadPool& threads, const Address& address);

}  // namespace varve::real_io
