// One TCP connection. Made by the Network.
#pragma once

#include <deque>
#include <memory>

#include "real_io/network.h"
#include "real_io/reactor.h"
#include "real_io/socket_address.h"
#include "real_io/unique_fd.h"
#include "runtime/network.h"

namespace varve::real_io {

// What one reactor's streams share.
struct StreamContext {
  Reactor& reactor;
  NetworkOptions options;
  // Where bytes are received first: small pieces are copied out at their true size, large ones take
  // the buffer.
  MutableBytes scratch;
};

class TcpStream final : public Stream, public Watcher, public TurnHook {
 public:
  TcpStream(std::shared_ptr<StreamContext> context, UniqueFd fd, Address peer);
  ~TcpStream() override;

  // Before anything else: the loop begins to watch it.
  Status attach();
  // Waits until the connection to `target`, which is in progress, is made.
  Status finish_connect(const SocketAddress& target);

  Result<Bytes> read() override;
  Status write(std::vector<Bytes> data) override;
  Status close_write() override;
  void abort() override;
  void on_readable(Task spawn) override;
  const Address& peer() const override { return peer_; }

  void ready(uint32_t events) override;
  void turn_ended() override;

 private:
  enum class Sending : uint8_t { kOpen, kClosing, kClosed };

  // Calls what on_readable() was given, in the loop's turn and not in the middle of a read.
  class ReadableHook final : public TurnHook {
   public:
    void turn_ended() override { std::exchange(spawn, Task())(); }
    Task spawn;
  };

  Status broken() const;
  void fail(int error);
  void flush();
  void finish_sending();
  void drop_unsent();
  bool send_some();
  Bytes take_received(size_t size);
  void tell_readable();
  void check_readable();

  std::shared_ptr<StreamContext> context_;
  Reactor& reactor_;
  UniqueFd fd_;
  Address peer_;
  int error_ = 0;  // of the connection, once
  bool aborted_ = false;
  bool readable_ = true;  // unknown counts as true: the call tells
  bool writable_ = true;
  bool hung_up_ = false;  // no further edge will come: never trust a short read
  bool ended_ = false;
  Sending sending_ = Sending::kOpen;
  std::deque<Bytes> unsent_;
  size_t unsent_size_ = 0;
  size_t read_this_turn_ = 0;
  Waiter reader_;
  Waiter writer_;
  ReadableHook on_readable_;
};

}  // namespace varve::real_io
