#include "real_io/stream.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "real_io/errors.h"

namespace varve::real_io {
namespace {

constexpr size_t kScratch = 64 << 10;
constexpr size_t kMaxPieces = 64;

}  // namespace

TcpStream::TcpStream(std::shared_ptr<StreamContext> context, UniqueFd fd, Address peer)
    : context_(std::move(context)),
      reactor_(context_->reactor),
      fd_(std::move(fd)),
      peer_(std::move(peer)) {}

Status TcpStream::attach() {
  return reactor_.watch(fd_.get(), this);
}

TcpStream::~TcpStream() {
  VARVE_CHECK_MSG(!reader_.waiting() && !writer_.waiting(), "a stream ended under its waiters");
  reactor_.forget(&on_readable_);
  on_readable_.spawn = Task();
  if (!fd_.valid()) return;
  // Both sides done in order: an ordinary close. Else the peer must not take what it got for the
  // whole.
  if (sending_ != Sending::kClosed || error_ != 0) {
    abort();
    return;
  }
  reactor_.forget(this);
  reactor_.unwatch(fd_.get());
}

Status TcpStream::broken() const {
  if (aborted_)
    return Status(Code::kUnavailable, "the stream was aborted").with_object(peer_.to_string());
  return error_status(error_, "the connection broke", peer_.to_string());
}

void TcpStream::fail(int error) {
  if (error_ == 0) error_ = error;
  drop_unsent();
  reader_.wake(reactor_.scheduler());
  writer_.wake(reactor_.scheduler());
}

void TcpStream::drop_unsent() {
  unsent_.clear();
  unsent_size_ = 0;
}

void TcpStream::abort() {
  if (!fd_.valid()) return;
  aborted_ = true;
  drop_unsent();
  // A close with a zero linger time is a reset: the peer learns that this is no orderly end.
  const linger reset{1, 0};
  (void)reactor_.syscalls().setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  reactor_.forget(this);
  reactor_.unwatch(fd_.get());
  fd_.reset();
  reader_.wake(reactor_.scheduler());
  writer_.wake(reactor_.scheduler());
  tell_readable();
}

void TcpStream::ready(uint32_t events) {
  const uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
  if (events & ended) hung_up_ = true;
  if (events & (EPOLLIN | ended)) {
    readable_ = true;
    reader_.wake(reactor_.scheduler());
    if (on_readable_.spawn) check_readable();
  }
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
    writable_ = true;
    // Whoever waits for a connection to be made has nothing unsent.
    if (unsent_size_ == 0) {
      writer_.wake(reactor_.scheduler());
    } else {
      flush();
    }
  }
}

void TcpStream::tell_readable() {
  if (on_readable_.spawn) reactor_.at_turn_end(&on_readable_);
}

void TcpStream::on_readable(Task spawn) {
  on_readable_.spawn = std::move(spawn);
  if (aborted_ || error_ != 0 || ended_) {
    tell_readable();
    return;
  }
  if (readable_) check_readable();
}

// Readiness is a hint; whoever asked to be told is told of bytes, the end or an error that are
// there.
void TcpStream::check_readable() {
  uint8_t byte = 0;
  ssize_t got;
  while ((got = reactor_.syscalls().recv(fd_.get(), &byte, 1, MSG_PEEK)) == -EINTR) {
  }
  if (got == -EAGAIN) {
    readable_ = false;
  } else {
    tell_readable();
  }
}

Status TcpStream::finish_connect(const SocketAddress& target) {
  for (;;) {
    writable_ = false;
    VARVE_TRY(writer_.wait("connect"));
    // Asking again is the one way that tells "made", "not yet" and "failed" apart, early wake-ups
    // included.
    const int result = reactor_.syscalls().connect(fd_.get(), target.get(), target.length);
    if (result == 0 || result == -EISCONN) return Status();
    if (result != -EALREADY && result != -EINPROGRESS && result != -EINTR) {
      return error_status(-result, "connect", peer_.to_string());
    }
  }
}

Bytes TcpStream::take_received(size_t size) {
  MutableBytes& scratch = context_->scratch;
  if (size < kScratch / 2) return Bytes::copy({scratch.data(), size});
  scratch.resize(size);
  return std::move(scratch).freeze();
}

Result<Bytes> TcpStream::read() {
  for (;;) {
    if (aborted_ || error_ != 0) return broken();
    if (ended_) return Bytes();
    if (!readable_) {
      read_this_turn_ = 0;
      VARVE_TRY(reader_.wait("bytes from a stream"));
      continue;
    }
    if (read_this_turn_ >= context_->options.read_per_turn) {
      read_this_turn_ = 0;
      VARVE_TRY(reactor_.next_turn());
      continue;
    }
    MutableBytes& scratch = context_->scratch;
    if (scratch.capacity() < kScratch) scratch = MutableBytes(kScratch);
    const ssize_t got = reactor_.syscalls().recv(fd_.get(), scratch.data(), kScratch, 0);
    if (got > 0) {
      const auto size = static_cast<size_t>(got);
      read_this_turn_ += size;
      // A short answer empties a stream socket; the next byte is a new edge. Not so after a
      // hang-up, whose edge has come already.
      if (size < kScratch && !hung_up_) readable_ = false;
      return take_received(size);
    }
    if (got == 0) {
      ended_ = true;
    } else if (got == -EAGAIN) {
      readable_ = false;
    } else if (got != -EINTR) {
      fail(static_cast<int>(-got));
    }
  }
}

Status TcpStream::write(std::vector<Bytes> data) {
  if (aborted_ || error_ != 0) return broken();
  if (sending_ != Sending::kOpen) {
    return Status(Code::kRefused, "write after close_write").with_object(peer_.to_string());
  }
  for (Bytes& piece : data) {
    if (piece.empty()) continue;
    unsent_size_ += piece.size();
    unsent_.push_back(std::move(piece));
  }
  if (unsent_size_ == 0) return Status();
  if (unsent_size_ >= context_->options.send_at_once) {
    flush();
  } else {
    reactor_.at_turn_end(this);
  }
  while (unsent_size_ > context_->options.high_water_mark && !aborted_ && error_ == 0) {
    VARVE_TRY(writer_.wait("room in a stream"));
  }
  return aborted_ || error_ != 0 ? broken() : Status();
}

Status TcpStream::close_write() {
  if (aborted_ || error_ != 0) return broken();
  if (sending_ == Sending::kOpen) sending_ = Sending::kClosing;
  flush();
  while (sending_ != Sending::kClosed && !aborted_ && error_ == 0) {
    VARVE_TRY(writer_.wait("the last bytes of a stream to be sent"));
  }
  return aborted_ || error_ != 0 ? broken() : Status();
}

void TcpStream::turn_ended() {
  flush();
}

// Sends what the kernel takes now; wakes the writer when there is room again.
void TcpStream::flush() {
  while (error_ == 0 && !aborted_ && writable_ && unsent_size_ > 0) {
    if (!send_some()) break;
  }
  if (unsent_size_ == 0 && sending_ == Sending::kClosing && error_ == 0) finish_sending();
  if (unsent_size_ <= context_->options.high_water_mark) writer_.wake(reactor_.scheduler());
}

void TcpStream::finish_sending() {
  sending_ = Sending::kClosed;
  const int result = reactor_.syscalls().shutdown(fd_.get(), SHUT_WR);
  if (result < 0) fail(-result);
}

bool TcpStream::send_some() {
  std::array<iovec, kMaxPieces> pieces;
  size_t count = 0;
  for (const Bytes& piece : unsent_) {
    if (count == kMaxPieces) break;
    pieces[count++] = {const_cast<uint8_t*>(piece.data()), piece.size()};
  }
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = count;
  const ssize_t sent = reactor_.syscalls().sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  if (sent == -EINTR) return true;
  if (sent == -EAGAIN) {
    writable_ = false;
    return false;
  }
  if (sent < 0) {
    fail(static_cast<int>(-sent));
    return false;
  }
  auto rest = static_cast<size_t>(sent);
  unsent_size_ -= rest;
  while (rest > 0) {
    Bytes& front = unsent_.front();
    if (rest >= front.size()) {
      rest -= front.size();
      unsent_.pop_front();
    } else {
      front = front.slice(rest);
      rest = 0;
    }
  }
  return true;
}

}  // namespace varve::real_io
