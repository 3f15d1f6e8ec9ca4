#include "real_io/network.h"

#include <netinet/tcp.h>

#include <cerrno>
#include <cstring>

#include "real_io/errors.h"
#include "real_io/socket_address.h"
#include "real_io/stream.h"

namespace varve::real_io {
namespace {

void set_flag(Syscalls& syscalls, int fd, int level, int option) {
  const int on = 1;
  (void)syscalls.setsockopt(fd, level, option, &on, sizeof on);
}

// Errors of accept() that belong to the connection that just failed, not to the listener
// (accept(2)).
bool is_of_the_peer(int error) {
  switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
    case EINTR:
      return true;
    default:
      return false;
  }
}

bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

class TcpListener final : public Listener, public Watcher {
 public:
  TcpListener(std::shared_ptr<StreamContext> context, UniqueFd fd, Address address)
      : context_(std::move(context)), fd_(std::move(fd)), address_(std::move(address)) {}
  ~TcpListener() override {
    VARVE_CHECK_MSG(!waiter_.waiting(), "a listener ended under its waiter");
    if (watched_) context_->reactor.unwatch(fd_.get());
  }

  Status attach() {
    VARVE_TRY(context_->reactor.watch(fd_.get(), this));
    watched_ = true;
    return Status();
  }
  Result<std::unique_ptr<Stream>> accept() override;
  const Address& address() const override { return address_; }
  void ready(uint32_t) override {
    ready_ = true;
    waiter_.wake(context_->reactor.scheduler());
  }

 private:
  std::shared_ptr<StreamContext> context_;
  UniqueFd fd_;
  Address address_;
  Waiter waiter_;
  bool watched_ = false;
  bool ready_ = true;
};

Result<std::unique_ptr<Stream>> TcpListener::accept() {
  Syscalls& syscalls = context_->reactor.syscalls();
  for (;;) {
    if (!ready_) VARVE_TRY(waiter_.wait("a connection"));
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    const int fd =
        syscalls.accept4(fd_.get(), peer.get(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      set_flag(syscalls, fd, IPPROTO_TCP, TCP_NODELAY);
      auto stream =
          std::make_unique<TcpStream>(context_, UniqueFd(syscalls, fd), peer.to_address());
      if (!stream->attach().ok()) continue;  // a shortage; the peer is told by the close
      return std::unique_ptr<Stream>(std::move(stream));
    }
    if (fd == -EAGAIN) {
      ready_ = false;
    } else if (is_shortage(-fd)) {
      // The connection stays in the backlog. Whoever has descriptors must give some back first;
      // trying at once would only burn the loop.
      VARVE_TRY(sleep_for(Duration::millis(20)));
    } else if (!is_of_the_peer(-fd)) {
      return error_status(-fd, "accept", address_.to_string());
    }
  }
}

class TcpNetwork final : public Network {
 public:
  TcpNetwork(ThreadPool& threads, const NetworkOptions& options)
      : threads_(threads),
        context_(new StreamContext{threads.reactor(), options, MutableBytes()}) {}

  Result<std::unique_ptr<Listener>> listen(const Address& address) override;
  Result<std::unique_ptr<Stream>> connect(const Address& address) override;

 private:
  Result<UniqueFd> open_socket(const SocketAddress& address, const Address& name);
  Result<std::unique_ptr<Stream>> connect_to(const SocketAddress& target, const Address& name);

  ThreadPool& threads_;
  std::shared_ptr<StreamContext> context_;
};

Result<UniqueFd> TcpNetwork::open_socket(const SocketAddress& address, const Address& name) {
  Syscalls& syscalls = context_->reactor.syscalls();
  const int fd = syscalls.socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return error_status(-fd, "open a socket", name.to_string());
  return UniqueFd(syscalls, fd);
}

Result<std::unique_ptr<Listener>> TcpNetwork::listen(const Address& address) {
  VARVE_TRY_ASSIGN(const auto found, resolve(threads_, address));
  const SocketAddress& wanted = found.front();
  VARVE_TRY_ASSIGN(UniqueFd fd, open_socket(wanted, address));
  Syscalls& syscalls = context_->reactor.syscalls();
  // A restarted daemon finds its port in TIME_WAIT; a port that somebody listens on is still
  // refused.
  set_flag(syscalls, fd.get(), SOL_SOCKET, SO_REUSEADDR);
  int result = syscalls.bind(fd.get(), wanted.get(), wanted.length);
  if (result == 0) result = syscalls.listen(fd.get(), static_cast<int>(context_->options.backlog));
  if (result < 0) {
    const std::string action =
        result == -EADDRINUSE ? "port " + std::to_string(address.port) + " is in use" : "listen";
    return error_status(-result, action, address.to_string());
  }
  SocketAddress bound;
  bound.length = sizeof bound.storage;
  result = syscalls.getsockname(fd.get(), bound.get(), &bound.length);
  if (result < 0) return error_status(-result, "listen", address.to_string());
  auto listener = std::make_unique<TcpListener>(context_, std::move(fd), bound.to_address());
  VARVE_TRY(listener->attach());
  return std::unique_ptr<Listener>(std::move(listener));
}

Result<std::unique_ptr<Stream>> TcpNetwork::connect(const Address& address) {
  VARVE_TRY_ASSIGN(const auto found, resolve(threads_, address));
  Status last;
  for (const SocketAddress& target : found) {
    auto stream = connect_to(target, address);
    if (stream.ok() || stream.is(Code::kCancelled) || stream.is(Code::kDeadlineExceeded))
      return stream;
    last = stream.status();
  }
  return last;
}

Result<std::unique_ptr<Stream>> TcpNetwork::connect_to(const SocketAddress& target,
                                                       const Address& name) {
  VARVE_TRY_ASSIGN(UniqueFd fd, open_socket(target, name));
  Syscalls& syscalls = context_->reactor.syscalls();
  set_flag(syscalls, fd.get(), IPPROTO_TCP, TCP_NODELAY);
  const int descriptor = fd.get();
  const int result = syscalls.connect(descriptor, target.get(), target.length);
  // An interrupted connect goes on in the background, as one in progress.
  if (result < 0 && result != -EINPROGRESS && result != -EINTR) {
    return error_status(-result, "connect", name.to_string());
  }
  auto stream = std::make_unique<TcpStream>(context_, std::move(fd), name);
  VARVE_TRY(stream->attach());
  if (result < 0) VARVE_TRY(stream->finish_connect(target));
  // A socket that asks for a free port of the range it is given may be given that very port, and
  // then talks to itself.
  SocketAddress own;
  own.length = sizeof own.storage;
  if (syscalls.getsockname(descriptor, own.get(), &own.length) == 0 &&
      own.length == target.length && std::memcmp(&own.storage, &target.storage, own.length) == 0) {
    return error_status(ECONNREFUSED, "connect", name.to_string());
  }
  return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace

std::unique_ptr<Network> make_network(ThreadPool& threads, const NetworkOptions& options) {
  return std::make_unique<TcpNetwork>(threads, options);
}

}  // namespace varve::real_io
