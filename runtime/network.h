// Byte streams between nodes. A stream may be cut after any byte, in either direction, with or
// without notice; one direction may stall while the other flows; a peer that died without a word is
// noticed by a deadline only. What arrives, arrives in order and unchanged (but check: hostile
// peers exist).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "runtime/scheduler.h"

namespace varve {

struct Address {
  std::string host;  // a name or a literal; "" listens on loopback
  uint16_t port = 0;
  auto operator<=>(const Address&) const = default;
  std::string to_string() const { return host + ":" + std::to_string(port); }
  // "host:port"; Invalid says what is wrong.
  static Result<Address> parse(std::string_view text);
};

class Stream {
 public:
  // Aborts if still open. Never suspends. No fiber may be inside a call.
  virtual ~Stream() = default;
  // Waits for at least one byte; empty means that the peer closed its side in order. Unavailable
  // after a reset. One reader at a time.
  virtual Result<Bytes> read() = 0;
  // Hands the bytes to the stream; waits only while more than the high-water mark is unsent, which
  // is the backpressure. Success says nothing of arrival. One writer at a time (several fibers need
  // a Mutex).
  virtual Status write(std::vector<Bytes> data) = 0;
  Status write(Bytes data);
  // Sends what is unsent, then the end of the stream. Reading goes on.
  virtual Status close_write() = 0;
  // Ends both directions at once; pending calls return Unavailable. Idempotent, never suspends.
  virtual void abort() = 0;
  // Calls `spawn` once, when there is something to read (bytes, end or error); it must not suspend,
  // it spawns. So an idle connection is a value in a table and not a fiber with a stack.
  virtual void on_readable(Task spawn) = 0;
  virtual const Address& peer() const = 0;
};

class Listener {
 public:
  // Stops listening; streams that were accepted live on.
  virtual ~Listener() = default;
  virtual Result<std::unique_ptr<Stream>> accept() = 0;
  // With the port that was chosen when 0 was asked for.
  virtual const Address& address() const = 0;
};

class Network {
 public:
  virtual ~Network() = default;
  // Exists with the port in the message when it is in use; port 0 lets the world choose.
  virtual Result<std::unique_ptr<Listener>> listen(const Address& address) = 0;
  // Unavailable when refused or unreachable.
  virtual Result<std::unique_ptr<Stream>> connect(const Address& address) = 0;
};

// Reads a stream in pieces of known length. Not copyable; owns nothing but a rest buffer.
class BufferedReader {
 public:
  explicit BufferedReader(Stream& stream) : stream_(stream) {}
  // Exactly `count` bytes. Unavailable ("ended after n of m bytes") if the stream ends inside;
  // NotFound if it ends before the first. A single piece, shared with what was read where it lies
  // in one piece.
  Result<Bytes> read_exactly(size_t count);
  // What is there, at least one byte; empty at the end.
  Result<Bytes> read_some();
  size_t buffered() const { return rest_.size(); }

 private:
  Stream& stream_;
  Bytes rest_;
};

}  // namespace varve
