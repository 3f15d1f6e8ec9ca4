#include "real_io/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <cstring>

namespace varve::real_io {

Address SocketAddress::to_address() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    (void)::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    return Address{text, ntohs(v6->sin6_port)};
  }
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
  (void)::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
  return Address{text, ntohs(v4->sin_port)};
}

std::optional<SocketAddress> parse_literal(const std::string& host, uint16_t port) {
  SocketAddress address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  const bool loopback = host.empty() || host == "localhost";
  if (::inet_pton(AF_INET, loopback ? "127.0.0.1" : host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.length = sizeof *v4;
    return address;
  }
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const std::string inner = brackets ? host.substr(1, host.size() - 2) : host;
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET6, inner.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.length = sizeof *v6;
    return address;
  }
  return std::nullopt;
}

Result<std::vector<SocketAddress>> resolve(ThreadPool& threads, const Address& address) {
  if (const auto literal = parse_literal(address.host, address.port)) {
    return std::vector<SocketAddress>{*literal};
  }
  using Found = std::vector<SocketAddress>;
  return run_on(threads, "name lookup", [address](Syscalls&) -> Result<Found> {
    addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
    addrinfo* first = nullptr;
    const int error =
        ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &wanted, &first);
    if (error != 0) {
      const Code code = error == EAI_AGAIN ? Code::kUnavailable : Code::kNotFound;
      return Status(code, std::string("look up the name: ") + ::gai_strerror(error))
          .with_object(address.to_string());
    }
    Found found;
    for (const addrinfo* entry = first; entry != nullptr; entry = entry->ai_next) {
      SocketAddress each;
      if (entry->ai_addrlen > sizeof each.storage) continue;
      std::memcpy(&each.storage, entry->ai_addr, entry->ai_addrlen);
      each.length = entry->ai_addrlen;
      found.push_back(each);
    }
    ::freeaddrinfo(first);
    if (found.empty())
      return Status(Code::kNotFound, "the name has no address").with_object(address.to_string());
    return found;
  });
}

}  // namespace varve::real_io
