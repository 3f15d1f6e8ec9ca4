#include "real_io/postgres/shim_service.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/crc32c.h"
#include "real_io/errors.h"

namespace varve::real_io {
namespace {

constexpr int kBacklog = 1024;
constexpr int kSendBytes = 1 << 20;  // of a socket: several answers of 16 pages
constexpr size_t kMostNotes = 1000;
constexpr size_t kMostUnsent = 64;
constexpr size_t kMostAsked = 64;  // unanswered fetches of one connection; the shim has one
constexpr Duration kShortagePause = Duration::millis(20);
constexpr size_t kMostMessages = 64;  // of one connection in a row

varve_message message_of(varve_message_type type, Incarnation nonce) {
  return {VARVE_PROTOCOL_MAGIC, VARVE_PROTOCOL_VERSION, static_cast<uint16_t>(type), nonce.value};
}

template <class T>
T as(std::span<const uint8_t> bytes) {
  T out;
  std::memcpy(&out, bytes.data(), sizeof out);
  return out;
}

template <size_t N>
std::string text_of(const char (&text)[N]) {
  return std::string(text, strnlen(text, N));
}

}  // namespace

class ShimService::Listener final : public Watcher {
 public:
  Listener(ShimService& service, UniqueFd fd) : service_(service), fd_(std::move(fd)) {}
  ~Listener() {
    if (watched_) service_.reactor_.unwatch(fd_.get());
  }
  Status attach() {
    VARVE_TRY(service_.reactor_.watch(fd_.get(), this));
    watched_ = true;
    return Status();
  }
  void ready(uint32_t) override {
    service_.knocked_ = true;
    service_.waiter_.wake(service_.reactor_.scheduler());
  }
  int fd() const { return fd_.get(); }

 private:
  ShimService& service_;
  UniqueFd fd_;
  bool watched_ = false;
};

class ShimService::Connection final : public Watcher {
 public:
  struct Unsent {
    std::vector<uint8_t> head;
    std::vector<Bytes> pages;
  };

  Connection(ShimService& service, uint64_t number, UniqueFd fd)
      : number(number), service_(service), fd_(std::move(fd)) {}
  ~Connection() {
    if (watched_) service_.reactor_.unwatch(fd_.get());
  }
  Status attach() {
    VARVE_TRY(service_.reactor_.watch(fd_.get(), this));
    watched_ = true;
    return Status();
  }
  void ready(uint32_t) override { service_.mark(number); }

  // False: the other side is gone. A message is sent whole or stays here.
  bool send(Unsent message) {
    if (unsent_.size() >= kMostUnsent) return false;
    unsent_.push_back(std::move(message));
    return flush();
  }
  bool flush() {
    while (!unsent_.empty()) {
      Unsent& next = unsent_.front();
      std::array<iovec, 1 + VARVE_MESSAGE_PAGES> pieces;
      pieces[0] = {next.head.data(), next.head.size()};
      for (size_t i = 0; i < next.pages.size(); ++i)
        pieces[i + 1] = {const_cast<uint8_t*>(next.pages[i].data()), next.pages[i].size()};
      msghdr message{};
      message.msg_iov = pieces.data();
      message.msg_iovlen = 1 + next.pages.size();
      const ssize_t sent =
          service_.reactor_.syscalls().sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent == -EINTR) continue;
      if (sent == -EAGAIN) return true;
      if (sent < 0) return false;
      unsent_.pop_front();
    }
    return true;
  }
  ssize_t receive(std::span<uint8_t> out) {
    return service_.reactor_.syscalls().recv(fd_.get(), out.data(), out.size(),
                                             MSG_DONTWAIT | MSG_TRUNC);
  }
  ucred peer() {
    ucred who{};
    socklen_t length = sizeof who;
    const int result =
        service_.reactor_.syscalls().getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &who, &length);
    return result == 0 ? who : ucred{0, static_cast<uid_t>(-1), static_cast<gid_t>(-1)};
  }

  const uint64_t number;
  bool greeted = false;   // HELLO came
  bool answered = false;  // GO went
  bool marked = false;
  size_t asked = 0;  // fetches under way

 private:
  ShimService& service_;
  UniqueFd fd_;
  bool watched_ = false;
  std::deque<Unsent> unsent_;
};

ShimService::ShimService(Reactor& reactor, ThreadPool& threads, Log& log,
                         std::shared_ptr<ArenaMemory> arena, ShimServiceOptions options)
    : reactor_(reactor),
      threads_(threads),
      log_(log),
      arena_(std::move(arena)),
      options_(std::move(options)) {}

ShimService::~ShimService() {
  VARVE_CHECK_MSG(!running_, "a shim's service ended while it runs");
}

Status ShimService::listen() {
  Syscalls& syscalls = reactor_.syscalls();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (options_.socket.size() >= sizeof address.sun_path) {
    return Status(Code::kInvalid, "a socket's path has 107 bytes at most")
        .with_object(options_.socket);
  }
  std::memcpy(address.sun_path, options_.socket.data(), options_.socket.size());
  const int made = syscalls.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (made < 0) return error_status(-made, "make the shim's socket", options_.socket);
  UniqueFd fd(syscalls, made);
  int result = syscalls.bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  if (result == 0 && ::chmod(options_.socket.c_str(), 0600) != 0) result = -errno;
  if (result == 0 && ::geteuid() == 0 &&
      ::chown(options_.socket.c_str(), options_.user.uid, options_.user.gid) != 0) {
    result = -errno;
  }
  if (result == 0) result = syscalls.listen(fd.get(), kBacklog);
  if (result != 0) return error_status(-result, "open the shim's socket", options_.socket);
  listener_ = std::make_unique<Listener>(*this, std::move(fd));
  return listener_->attach();
}

void ShimService::mark(uint64_t number) {
  Connection& connection = *connections_.at(number);
  if (connection.marked) return;
  connection.marked = true;
  marked_.push_back(number);
  waiter_.wake(reactor_.scheduler());
}

void ShimService::run() {
  Shield shield;
  running_ = true;
  while (!closing_) {
    if (std::exchange(knocked_, false)) accept_all();
    std::vector<uint64_t> batch;
    batch.swap(marked_);
    for (const uint64_t number : batch) {
      const auto at = connections_.find(number);
      if (at == connections_.end()) continue;
      at->second->marked = false;
      serve(*at->second);
    }
    if (!closing_ && !knocked_ && marked_.empty())
      waiter_.wait("the shim").ignore("only a signal ends it");
    else
      reactor_.next_turn().ignore("only a signal ends it");
  }
  connections_.clear();
  listener_.reset();
  running_ = false;
}

void ShimService::close() {
  closing_ = true;
  waiter_.wake(reactor_.scheduler());
  askers_.wake_all();
  readers_.wake_all();
  start_changed_.wake_all();
}

void ShimService::accept_all() {
  Syscalls& syscalls = reactor_.syscalls();
  for (;;) {
    const int fd =
        syscalls.accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd == -EINTR || fd == -ECONNABORTED) continue;
    if (fd == -EAGAIN) return;
    if (fd < 0) {  // a shortage, and who knocked goes on waiting
      log_.warning("shim_accept", "a process of Postgres can't be served now: " + error_text(-fd));
      sleep_for(kShortagePause).ignore("only time ends it");
      knocked_ = true;
      return;
    }
    (void)syscalls.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBytes, sizeof kSendBytes);
    const uint64_t number = ++last_connection_;
    auto connection = std::make_unique<Connection>(*this, number, UniqueFd(syscalls, fd));
    if (!connection->attach().ok()) continue;
    connections_.emplace(number, std::move(connection));
    mark(number);  // its hello may be here already
  }
}

void ShimService::serve(Connection& connection) {
  std::array<uint8_t, 256> space;
  bool alive = connection.flush();
  size_t messages = 0;
  while (alive) {
    if (++messages > kMostMessages) return mark(connection.number);
    const ssize_t got = connection.receive(space);
    if (got == -EINTR) continue;
    if (got == -EAGAIN) return;
    alive = got > 0 && static_cast<size_t>(got) <= space.size() &&
            take(connection, {space.data(), static_cast<size_t>(got)});
  }
  drop(connection.number);
}

bool ShimService::take(Connection& connection, std::span<const uint8_t> message) {
  if (message.size() < sizeof(varve_message)) return false;
  const auto head = as<varve_message>(message);
  if (head.magic != VARVE_PROTOCOL_MAGIC || head.nonce != options_.nonce.value) return false;
  if (!connection.greeted) {
    return head.type == VARVE_HELLO && message.size() == sizeof(varve_hello) &&
           take_hello(connection, as<varve_hello>(message));
  }
  if (!connection.answered) return false;
  switch (head.type) {
    case VARVE_FETCH:
      return message.size() == sizeof(varve_fetch) &&
             take_fetch(connection, as<varve_fetch>(message));
    case VARVE_PREFETCH:
      return message.size() == sizeof(varve_fetch) && take_prefetch(as<varve_fetch>(message));
    case VARVE_NOTE:
      if (message.size() != sizeof(varve_note)) return false;
      take_note(as<varve_note>(message));
      return true;
    default:
      return false;
  }
}

bool ShimService::take_hello(Connection& connection, const varve_hello& hello) {
  const ucred peer = connection.peer();
  if (hello.message.version != VARVE_PROTOCOL_VERSION ||
      hello.arena_version != VARVE_ARENA_VERSION) {
    send_go(connection, false, "the shim speaks another version than its agent");
    return false;
  }
  if (peer.uid != options_.user.uid || static_cast<uint32_t>(peer.pid) != hello.pid) return false;
  connection.greeted = true;
  if (hello.kind == VARVE_POSTMASTER) {
    if (hello_.has_value() || peer.pid != postmaster_) return false;
    hello_ = hello;
    postmaster_connection_ = connection.number;
    start_changed_.wake_all();
    return true;
  }
  if (!admitted_) return false;
  send_go(connection, true, "");
  return true;
}

void ShimService::admit() {
  admitted_ = true;
  const auto at = connections_.find(postmaster_connection_);
  if (at != connections_.end()) send_go(*at->second, true, "");
}

void ShimService::refuse(const std::string& why) {
  const auto at = connections_.find(postmaster_connection_);
  if (at != connections_.end()) send_go(*at->second, false, why);
}

void ShimService::send_go(Connection& connection, bool accept, const std::string& text) {
  varve_go go{};
  go.message = message_of(VARVE_GO, options_.nonce);
  go.term = options_.term.value;
  go.accept = accept ? 1 : 0;
  std::memcpy(go.text, text.data(), std::min(text.size(), sizeof go.text - 1));
  const auto* bytes = reinterpret_cast<const uint8_t*>(&go);
  (void)connection.send({std::vector<uint8_t>(bytes, bytes + sizeof go), {}});
  connection.answered = accept;
}

bool ShimService::fits(const varve_fetch& fetch) const {
  const varve_arena* arena = arena_->get();
  if (fetch.entry >= arena->entry_count) return false;
  const uint32_t blocks = arena_->blocks_of(fetch.entry);
  return varve_entry_at(arena_->get(), fetch.entry)->hash == fetch.path_hash && fetch.blocks >= 1 &&
         fetch.first < blocks && fetch.blocks <= blocks - fetch.first;
}

void ShimService::ask(Asked asked, uint32_t first, uint32_t blocks) {
  PostgresPageWanted wanted;
  wanted.request = ++last_request_;
  wanted.file = asked.fetch.entry;
  wanted.first = first;
  wanted.blocks = blocks;
  wanted.prefetch = asked.connection == 0;
  asked_.emplace(wanted.request, asked);
  questions_.push_back(wanted);
  (void)askers_.wake_one();
}

bool ShimService::take_fetch(Connection& connection, const varve_fetch& fetch) {
  if (!fits(fetch) || fetch.blocks > VARVE_MESSAGE_PAGES) return false;
  if (++connection.asked > kMostAsked) return false;
  ask({connection.number, fetch, {}}, fetch.first, fetch.blocks);
  return true;
}

bool ShimService::take_prefetch(const varve_fetch& fetch) {
  if (!fits(fetch)) return false;
  const uint32_t end = fetch.first + fetch.blocks;
  for (uint32_t block = fetch.first; block < end && prefetching_ < options_.prefetches;) {
    Asked asked{0, fetch, {}};
    const uint32_t claimed = arena_->claim(fetch.entry, block, end - block, &asked.claim);
    if (claimed > 0) {
      ++prefetching_;
      ask(asked, block, claimed);
    }
    block += std::max<uint32_t>(claimed, 1);
  }
  return true;
}

void ShimService::take_note(const varve_note& note) {
  PostgresNote out;
  out.kind = note.kind == VARVE_NOTE_REFUSED ? PostgresNote::Kind::kRefused
                                             : PostgresNote::Kind::kUnknownFile;
  out.text = text_of(note.text);
  if (notes_.size() < kMostNotes) notes_.push_back(std::move(out));
  (void)readers_.wake_one();
}

// A closed connection's questions that nobody has taken need no answer; taken ones will find
// nobody.
void ShimService::drop(uint64_t number) {
  std::erase_if(questions_, [&](const PostgresPageWanted& wanted) {
    const auto at = asked_.find(wanted.request);
    if (at == asked_.end() || at->second.connection != number) return false;
    asked_.erase(at);
    return true;
  });
  connections_.erase(number);
}

Result<PostgresPageWanted> ShimService::next_page() {
  while (questions_.empty() && !closing_) VARVE_TRY(askers_.wait("a page that is wanted"));
  if (closing_) return Status(Code::kUnavailable, "Postgres has ended");
  const PostgresPageWanted wanted = questions_.front();
  questions_.pop_front();
  if (!questions_.empty()) (void)askers_.wake_one();
  return wanted;
}

Result<PostgresNote> ShimService::next_note() {
  while (notes_.empty() && !closing_) VARVE_TRY(readers_.wait("a note of Postgres"));
  if (notes_.empty()) return Status(Code::kUnavailable, "Postgres has ended");
  PostgresNote note = std::move(notes_.front());
  notes_.pop_front();
  return note;
}

void ShimService::answer_page(PostgresPageAnswer answer) {
  const auto found = asked_.find(answer.request);
  if (found == asked_.end()) return;  // who asked is gone
  const Asked asked = found->second;
  asked_.erase(found);
  VARVE_CHECK_MSG(answer.fate != PostgresPageFate::kHere || !answer.pages.empty(),
                  "an answer without pages");
  for (const Bytes& page : answer.pages)
    VARVE_CHECK_MSG(page.size() == kBlockSize, "a page of another size");
  if (asked.connection == 0) {
    --prefetching_;
    return fill(asked, std::move(answer));
  }
  const auto at = connections_.find(asked.connection);
  if (at == connections_.end()) return;
  --at->second->asked;
  send_pages(*at->second, asked.fetch, std::move(answer));
}

void ShimService::send_pages(Connection& connection, const varve_fetch& fetch,
                             PostgresPageAnswer answer) {
  varve_pages head{};
  head.message = message_of(VARVE_PAGES, options_.nonce);
  head.request = fetch.request;
  head.path_hash = fetch.path_hash;
  head.entry = fetch.entry;
  head.generation = fetch.generation;
  head.first = fetch.first;
  head.lsn = answer.lsn.value;
  switch (answer.fate) {
    case PostgresPageFate::kHere:
      head.status = VARVE_FETCH_OK;
      break;
    case PostgresPageFate::kRetry:
      head.status = VARVE_FETCH_RETRY;
      break;
    case PostgresPageFate::kLost:
      head.status = VARVE_FETCH_LOST;
      break;
  }
  if (answer.fate != PostgresPageFate::kHere) answer.pages.clear();
  if (answer.pages.size() > fetch.blocks) answer.pages.resize(fetch.blocks);
  head.blocks = static_cast<uint32_t>(answer.pages.size());
  for (size_t i = 0; i < answer.pages.size(); ++i) head.crc[i] = crc32c(answer.pages[i]);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&head);
  const bool alive =
      connection.send({std::vector<uint8_t>(bytes, bytes + sizeof head), std::move(answer.pages)});
  if (!alive) mark(connection.number);  // its end is seen there
}

void ShimService::fill(const Asked& asked, PostgresPageAnswer answer) {
  if (answer.fate != PostgresPageFate::kHere)
    return arena_->release(asked.fetch.entry, asked.claim);
  if (answer.pages.size() > asked.claim.blocks) answer.pages.resize(asked.claim.blocks);
  std::vector<uint8_t> pages(answer.pages.size() * kBlockSize);
  for (size_t i = 0; i < answer.pages.size(); ++i)
    std::memcpy(pages.data() + i * kBlockSize, answer.pages[i].data(), kBlockSize);
  auto work = [arena = arena_, data = options_.data, user = options_.user, asked,
               pages = std::move(pages)](Syscalls&) {
    arena->fill(data, user, asked.fetch.entry, asked.claim, pages);
    return 0;
  };
  auto* operation = new internal::Call<decltype(work)>(std::move(work));
  threads_.start(operation);
  reactor_.abandon(operation);
}

}  // namespace varve::real_io
