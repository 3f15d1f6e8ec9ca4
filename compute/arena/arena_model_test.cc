// Every interleaving of the arena's actors, with a kill at each step.
//
// The functions of operations.h run here unchanged, each actor on a fiber of its own, over a model
// of the files, the robust lock, the futex and storage. VARVE_ARENA_STEP switches to the explorer
// before each access to shared memory and each call into the environment; the explorer then lets
// any actor take its step, or kills one. The search is depth-first and complete for each
// configuration: a state is what is shared, plus each actor's stack from its saved stack pointer up
// (that is where it stands and all that it knows), plus what the oracle remembers.
//
// The oracle is regularity per half block: a read may answer a value that was set before it, was
// not replaced by something that ended before it began, or was being set while it ran. So storage's
// version after a completed write, zeros for a missing block and an old page in a new file are all
// seen as what they are.
#include <gtest/gtest.h>

#include <array>
#include <boost/context/detail/fcontext.hpp>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "base/check.h"
#include "base/random.h"

namespace varve::arena_model {
void step();
uint64_t saw(uint64_t value);
bool rule_off(const char* name);
}  // namespace varve::arena_model

#define VARVE_ARENA_STEP() ::varve::arena_model::step()
#define VARVE_ARENA_SAW(value) ::varve::arena_model::saw(static_cast<uint64_t>(value))
#define VARVE_ARENA_RULE(name, condition) ((condition) || ::varve::arena_model::rule_off(#name))
#include "compute/arena/operations.h"

namespace varve::arena_model {
namespace {

namespace bc = boost::context::detail;

constexpr int kHalf = VARVE_BLOCK_SIZE / 2;
constexpr int kHalves = 4;  // two blocks
constexpr uint8_t kZero = 0;
constexpr uint8_t kRemote = 1;  // storage's version
constexpr uint8_t kEnd = 255;   // beyond the end of the file
constexpr char kPath[] = "base/5/16384";
constexpr size_t kStackBytes = 64 << 10;
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackHashed = 16 << 10;
#else
constexpr size_t kStackHashed = 4 << 10;  // the most that an actor uses; checked
#endif

struct Inode {
  std::array<uint8_t, kHalves> halves{};
  int size = 0;  // in half blocks
};

// Something that sets a half of one of the two files: a write, a truncate, or how it began.
struct Event {
  int file;
  std::array<uint8_t, kHalves> values;  // kUntouched where it sets nothing
  uint32_t before;                      // events that had ended when it began
};
constexpr uint8_t kUntouched = 254;

enum class State : uint8_t { kReady, kLocking, kSleeping, kDone, kKilled };

struct Actor {
  std::function<void()> script;
  bool killable = true;
  State state = State::kReady;
  bool started = false;
  bc::fcontext_t context = nullptr;
  const uint32_t* word = nullptr;
  uint32_t value = 0;
};

// What actors read and write; outside the stacks, so that where an actor stands is a few hundred
// bytes.
struct Buffers {
  std::array<uint8_t, 2 * VARVE_BLOCK_SIZE> fetched{};
  std::array<uint8_t, 2 * VARVE_BLOCK_SIZE> data{};
};
constexpr size_t kMostActors = 6;

struct World {
  std::vector<Actor> actors;
  bc::fcontext_t explorer = nullptr;
  int current = -1;
  alignas(64) std::array<uint8_t, 5 * 4096> memory{};
  varve_env env{};
  std::array<Buffers, kMostActors> buffers;
  std::vector<Inode> inodes;
  int named = -1;  // inode under kPath
  std::array<uint8_t, kHalves> storage{};
  std::vector<int> descriptors;
  int owner = -1;
  bool owner_died = false;
  std::vector<Event> events;
  uint32_t ended = 0;
  bool unlink_began = false;
  bool disk_full = false;
  bool fetch_fails = false;
  int kills_left = 0;
  std::string failure;
  std::string mutant;

  varve_arena* arena() { return reinterpret_cast<varve_arena*>(memory.data()); }
  varve_entry* entry() { return varve_entry_at(arena(), 0); }
  Actor& me() { return actors[static_cast<size_t>(current)]; }
  Buffers& my_buffers() { return buffers[static_cast<size_t>(current)]; }
};

World* world = nullptr;

void fail(std::string what) {
  if (world->failure.empty()) world->failure = std::move(what);
}

}  // namespace

void step() {
  if (world->current < 0) return;  // the explorer's own looks are no steps
  bc::transfer_t t = bc::jump_fcontext(world->explorer, nullptr);
  world->explorer = t.fctx;
}

uint64_t saw(uint64_t value) {
  return value;
}

// A conditional rule switched off makes its condition hold.
bool rule_off(const char* name) {
  return world->mutant == name;
}

namespace {

// ---- the environment ----

int env_lock(void*, varve_entry*) {
  step();
  while (world->owner >= 0 && !world->owner_died) {
    world->me().state = State::kLocking;
    step();
  }
  world->me().state = State::kReady;
  const bool died = world->owner_died && world->mutant != "lock_is_robust";
  world->owner = world->current;
  world->owner_died = false;
  return died ? EOWNERDEAD : 0;
}

void env_unlock(void*, varve_entry*) {
  step();
  if (world->owner != world->current) fail("unlocked what it does not hold");
  world->owner = -1;
}

void env_sleep(void*, uint32_t* word, uint32_t value, int) {
  step();
  if (*word != value) return;
  world->me().word = word;
  world->me().value = value;
  world->me().state = State::kSleeping;
  step();
  world->me().state = State::kReady;
}

void env_wake(void*, uint32_t* word) {
  step();
  for (Actor& actor : world->actors) {
    if (actor.state == State::kSleeping && actor.word == word) actor.state = State::kReady;
  }
}

Inode& inode_of(int fd) {
  return world->inodes[static_cast<size_t>(world->descriptors[static_cast<size_t>(fd)])];
}

int64_t env_pread(void*, int fd, void* buffer, uint64_t bytes, uint64_t offset) {
  step();
  const Inode& inode = inode_of(fd);
  int64_t got = 0;
  for (uint64_t at = offset; at < offset + bytes; at += kHalf) {
    const int half = static_cast<int>(at / kHalf);
    if (half >= inode.size) break;
    const uint8_t value = inode.halves[static_cast<size_t>(half)];
    static_cast<uint8_t*>(buffer)[at - offset] = value;
    got += kHalf;
  }
  return got;
}

// A write is one step a block, so that a kill tears it.
int64_t env_pwrite(void*, int fd, const void* buffer, uint64_t bytes, uint64_t offset) {
  step();
  if (world->disk_full) return -ENOSPC;
  for (uint64_t at = offset; at < offset + bytes; at += kHalf) {
    if (at != offset && at % VARVE_BLOCK_SIZE == 0) step();
    Inode& inode = inode_of(fd);
    const int half = static_cast<int>(at / kHalf);
    VARVE_CHECK(half < kHalves);
    inode.halves[static_cast<size_t>(half)] = static_cast<const uint8_t*>(buffer)[at - offset];
    if (inode.size <= half) inode.size = half + 1;
  }
  return static_cast<int64_t>(bytes);
}

int env_open(void*, const char*, int flags, unsigned, int* fd) {
  step();
  if (world->named < 0) {
    if ((flags & O_CREAT) == 0) return ENOENT;
    world->named = static_cast<int>(world->inodes.size());
    world->inodes.emplace_back();
  } else if (flags & O_EXCL) {
    return EEXIST;
  }
  *fd = static_cast<int>(world->descriptors.size());
  world->descriptors.push_back(world->named);
  return 0;
}

int env_truncate(void*, const char*, uint64_t bytes) {
  step();
  if (world->named < 0) return ENOENT;
  Inode& inode = world->inodes[static_cast<size_t>(world->named)];
  inode.size = static_cast<int>(bytes / kHalf);
  for (int i = inode.size; i < kHalves; ++i) inode.halves[static_cast<size_t>(i)] = kZero;
  return 0;
}

int env_unlink(void*, const char*) {
  step();
  if (world->named < 0) return ENOENT;
  world->named = -1;
  return 0;
}

int env_punch(void*, int fd, uint32_t first, uint32_t blocks) {
  step();
  for (uint32_t half = first * 2; half < (first + blocks) * 2; ++half)
    inode_of(fd).halves[half] = kZero;
  return 0;
}

int env_fetch(void*, const varve_entry*, uint32_t, uint32_t first, uint32_t blocks,
              const uint8_t** pages) {
  step();
  if (world->fetch_fails) return -EIO;
  std::array<uint8_t, 2 * VARVE_BLOCK_SIZE>& buffer = world->my_buffers().fetched;
  for (uint32_t half = 0; half < blocks * 2; ++half)
    buffer[half * kHalf] = world->storage[first * 2 + half];
  *pages = buffer.data();
  step();  // the answer is under way
  return static_cast<int>(blocks);
}

// ---- the oracle ----

int begin(int file, std::array<uint8_t, kHalves> values) {
  VARVE_CHECK(world->events.size() < 30);
  world->events.push_back({file, values, world->ended});
  return static_cast<int>(world->events.size()) - 1;
}
void end(int event) {
  world->ended |= 1u << event;
}

bool may_see(int file, int half, uint8_t value, uint32_t before_read) {
  const auto touches = [&](const Event& e) {
    return e.file == file && e.values[static_cast<size_t>(half)] != kUntouched;
  };
  for (size_t i = 0; i < world->events.size(); ++i) {
    if (!touches(world->events[i])) continue;
    const uint8_t set = world->events[i].values[static_cast<size_t>(half)];
    // What a truncate cut off is beyond the end, or zero when the file was extended again behind
    // it.
    if (set != value && !(set == kEnd && value == kZero)) continue;
    bool replaced = false;
    for (size_t j = 0; j < world->events.size(); ++j) {
      const bool after = (world->events[j].before & 1u << i) != 0;
      if (touches(world->events[j]) && after && (before_read & 1u << j) != 0) replaced = true;
    }
    if (!replaced) return true;
  }
  return false;
}

// ---- what actors do ----

int open_file(int flags, int* bound) {
  int fd = -1;
  const int error = varve_open(&world->env, world->entry(), flags, 0600, &fd, bound);
  if (error == 0) {
    if ((*bound != 0) != (world->descriptors[static_cast<size_t>(fd)] == 0)) {
      fail("a new file was taken for the lazy one, or the lazy one for a new one");
    }
    return fd;
  }
  const bool gone = error == ENOENT && !*bound && world->unlink_began;
  const bool exists = error == EEXIST;
  const bool vanished = error == EIO && world->unlink_began;
  if (!gone && !exists && !vanished) fail("open answered " + std::to_string(error));
  return -1;
}

void read_file(int first, int halves) {
  int bound = 0;
  const int fd = open_file(O_RDWR, &bound);
  if (fd < 0) return;
  const int file = bound ? 0 : 1;
  std::array<uint8_t, kHalves* kHalf>& buffer = world->my_buffers().data;
  const uint32_t before = world->ended;
  const uint64_t bytes = static_cast<uint64_t>(halves) * kHalf;
  const uint64_t offset = static_cast<uint64_t>(first) * kHalf;
  const int64_t got =
      bound ? varve_read(&world->env, world->entry(), fd, buffer.data(), bytes, offset, 0)
            : env_pread(nullptr, fd, buffer.data(), bytes, offset);
  if (got < 0) {
    const bool dead = file == 0 && world->unlink_began;
    if (!dead && !world->fetch_fails) fail("a read failed with " + std::to_string(-got));
    return;
  }
  for (int i = 0; i < halves; ++i) {
    const uint8_t value = i * kHalf < got ? buffer[static_cast<size_t>(i * kHalf)] : kEnd;
    if (!may_see(file, first + i, value, before)) {
      fail("file " + std::to_string(file) + " half " + std::to_string(first + i) + " read as " +
           std::to_string(value));
    }
  }
}

void write_file(int first, int halves, uint8_t value) {
  int bound = 0;
  const int fd = open_file(O_RDWR, &bound);
  if (fd < 0) return;
  std::array<uint8_t, kHalves> sets;
  sets.fill(kUntouched);
  std::array<uint8_t, kHalves* kHalf>& buffer = world->my_buffers().data;
  for (int i = 0; i < halves; ++i) {
    sets[static_cast<size_t>(first + i)] = value;
    buffer[static_cast<size_t>(i * kHalf)] = value;
  }
  const int event = begin(bound ? 0 : 1, sets);
  const uint64_t bytes = static_cast<uint64_t>(halves) * kHalf;
  const uint64_t offset = static_cast<uint64_t>(first) * kHalf;
  const int64_t put =
      bound ? varve_write(&world->env, world->entry(), fd, buffer.data(), bytes, offset)
            : env_pwrite(nullptr, fd, buffer.data(), bytes, offset);
  if (put == static_cast<int64_t>(bytes)) {
    end(event);
  } else if (!world->disk_full && !world->fetch_fails && !world->unlink_began) {
    fail("a write answered " + std::to_string(put));
  }
}

void truncate_file(int blocks) {
  std::array<uint8_t, kHalves> sets;
  sets.fill(kUntouched);
  for (int i = blocks * 2; i < kHalves; ++i) sets[static_cast<size_t>(i)] = kEnd;
  const int event = begin(0, sets);
  if (varve_truncate(&world->env, world->entry(),
                     static_cast<uint64_t>(blocks) * VARVE_BLOCK_SIZE) == 0) {
    end(event);
  }
}

void unlink_and_recreate(uint8_t value) {
  world->unlink_began = true;
  if (varve_unlink(&world->env, world->entry()) != 0) {
    fail("unlink failed");
    return;
  }
  int bound = 0;
  const int fd = open_file(O_RDWR | O_CREAT | O_EXCL, &bound);
  if (fd < 0) return;
  const int event = begin(1, {kUntouched, kUntouched, value, value});
  std::array<uint8_t, kHalves* kHalf>& buffer = world->my_buffers().data;
  buffer[0] = buffer[kHalf] = value;
  env_pwrite(nullptr, fd, buffer.data(), VARVE_BLOCK_SIZE, VARVE_BLOCK_SIZE);
  end(event);
}

void prefetch() {
  int bound = 0;
  const int fd = open_file(O_RDWR, &bound);
  if (fd < 0 || !bound) return;
  varve_claim claim;
  if (varve_claim_missing(&world->env, world->entry(), 0, 2, &claim) == 0) return;
  const uint8_t* pages = nullptr;
  const int got =
      env_fetch(nullptr, world->entry(), claim.generation, claim.first, claim.blocks, &pages);
  if (got < 0) {
    varve_claim_release(&world->env, world->entry(), &claim, 0);
  } else {
    (void)varve_fill(&world->env, world->entry(), fd, &claim, pages, static_cast<uint32_t>(got));
  }
}

int is_clean(void*, const varve_entry*, uint32_t block) {
  const Inode& inode = world->inodes[0];
  return inode.halves[block * 2] == world->storage[block * 2] &&
         inode.halves[block * 2 + 1] == world->storage[block * 2 + 1];
}

// Storage has caught up with what this compute logged, so that the block may go.
int is_ingested(void*, const varve_entry*, uint32_t block) {
  for (uint32_t half = block * 2; half < block * 2 + 2; ++half) {
    world->storage[half] = world->inodes[0].halves[half];
  }
  return 1;
}

void punch(int (*clean)(void*, const varve_entry*, uint32_t)) {
  int bound = 0;
  const int fd = open_file(O_RDWR, &bound);
  if (fd >= 0 && bound) (void)varve_punch(&world->env, world->entry(), fd, 0, 2, clean);
}

// ---- the explorer ----

struct Script {
  const char* name;
  std::function<void()> body;
  bool killable = true;
};

struct Config {
  std::vector<Script> scripts;
  int kills = 1;
  bool present = false;  // both blocks start present, with storage's version
  bool disk_full = false;
  bool fetch_fails = false;
  std::string mutant;
};

class Explorer {
 public:
  explicit Explorer(const Config& config) : config_(config) {
    varve_arena_layout(world_.arena(), 1, varve_words_of(2));
    VARVE_CHECK(world_.arena()->bytes <= world_.memory.size());
    uint64_t used = 0;
    varve_add_file(world_.arena(), kPath, 2, &used);
    varve_arena_open(world_.arena(), VARVE_MODE_PRIMARY, 7, 1, 16 << 20);
    laid_out_ = world_.memory;
    world_.actors.reserve(kMostActors);
    world_.inodes.reserve(8);
    world_.descriptors.reserve(32);
    world_.events.reserve(32);
    for (size_t i = 0; i <= config.scripts.size(); ++i) {
      stacks_.push_back(std::make_unique<std::array<uint8_t, kStackBytes>>());
    }
  }

  // The first failure, or empty. `limit` bounds the number of states.
  std::string run(size_t limit) {
    struct Frame {
      size_t options;
      size_t chosen;
      uint64_t state;
    };
    std::vector<Frame> path;
    for (;;) {
      reset();
      for (const Frame& frame : path) take(options()[frame.chosen]);
      for (;;) {  // go down until the end or a known state
        const std::vector<int> now = options();
        if (!world->failure.empty()) return describe();
        if (now.empty()) {
          if (!finish()) return describe();
          break;
        }
        const uint64_t state = hash();
        if (!seen_.insert(state).second) {
          // Back where we were on this very path, without ever having had a choice: for ever.
          for (size_t i = path.size(); i > 0 && path[i - 1].options == 1; --i) {
            if (path[i - 1].state == state) return "somebody turns in a circle for ever";
          }
          break;
        }
        if (seen_.size() > limit) return "more states than expected";
        path.push_back({now.size(), 0, state});
        take(now[0]);
      }
      while (!path.empty() && path.back().chosen + 1 == path.back().options) path.pop_back();
      if (path.empty()) return {};
      ++path.back().chosen;
    }
  }

  size_t states() const { return seen_.size(); }

 private:
  static void enter(bc::transfer_t t) {
    world->explorer = t.fctx;
    World* mine = world;
    const int self = mine->current;
    mine->actors[static_cast<size_t>(self)].script();
    mine->actors[static_cast<size_t>(self)].state = State::kDone;
    bc::jump_fcontext(mine->explorer, nullptr);
    VARVE_UNREACHABLE("a finished actor was resumed");
  }

  void add_actor(const std::function<void()>& script, bool killable) {
    auto& stack = *stacks_[world_.actors.size()];
#ifdef __SANITIZE_ADDRESS__
    // An actor that was killed or left in the middle of a run never took its red zones back.
    __asan_unpoison_memory_region(stack.data(), stack.size());
#endif
    std::memset(stack.data() + stack.size() - kStackHashed, 0, kStackHashed);
    Actor& actor = world_.actors.emplace_back();
    actor.script = script;
    actor.killable = killable;
    actor.context = bc::make_fcontext(stack.data() + stack.size(), stack.size(), &Explorer::enter);
  }

  void reset() {
    world = &world_;
    // Everything stays where it is in memory, since addresses are part of what a stack holds.
    world_.actors.clear();
    world_.inodes.clear();
    world_.descriptors.clear();
    world_.events.clear();
    world_.owner = world_.current = -1;
    world_.owner_died = world_.unlink_began = false;
    world_.failure.clear();
    for (Buffers& buffers : world_.buffers) {
      for (size_t half = 0; half < kHalves; ++half) {
        buffers.data[half * kHalf] = buffers.fetched[half * kHalf] = 0;
      }
    }
    std::memcpy(world_.memory.data(), laid_out_.data(), laid_out_.size());
    world_.mutant = config_.mutant;
    world_.kills_left = config_.kills;
    world_.disk_full = config_.disk_full;
    world_.fetch_fails = config_.fetch_fails;
    world_.env = {nullptr,    world_.arena(), env_lock,   env_unlock, env_sleep,
                  env_wake,   env_pread,      env_pwrite, env_open,   env_truncate,
                  env_unlink, env_punch,      env_fetch};
    Inode inode;
    inode.size = kHalves;
    if (config_.present) {
      inode.halves.fill(kRemote);
      for (uint32_t b = 0; b < 2; ++b) {
        *varve_block_word(world_.arena(), world_.entry(), b) = varve_word(VARVE_BLOCK_PRESENT, 0);
      }
    }
    world_.inodes.push_back(inode);
    world_.named = 0;
    world_.storage.fill(kRemote);
    world_.events.push_back({0, {kRemote, kRemote, kRemote, kRemote}, 0});
    world_.events.push_back({1, {kEnd, kEnd, kEnd, kEnd}, 0});
    world_.ended = 3;
    for (const Script& script : config_.scripts) add_actor(script.body, script.killable);
  }

  // Actor numbers that can take a step; actor number + 100 to kill it.
  std::vector<int> options() const {
    std::vector<int> result;
    bool sleeping = false;
    for (size_t i = 0; i < world_.actors.size(); ++i) {
      const Actor& actor = world_.actors[i];
      const bool lock_free = world_.owner < 0 || world_.owner_died;
      const bool word_changed = actor.state == State::kSleeping && *actor.word != actor.value;
      sleeping |= actor.state == State::kSleeping;
      if (actor.state == State::kReady || (actor.state == State::kLocking && lock_free) ||
          word_changed) {
        result.push_back(static_cast<int>(i));
      }
    }
    if (result.empty() && sleeping) {  // patience ends only when nothing else can happen
      for (size_t i = 0; i < world_.actors.size(); ++i) {
        if (world_.actors[i].state == State::kSleeping) result.push_back(static_cast<int>(i));
      }
    }
    const size_t runnable = result.size();
    for (size_t i = 0; runnable > 0 && world_.kills_left > 0 && i < world_.actors.size(); ++i) {
      const Actor& actor = world_.actors[i];
      const bool alive = actor.state != State::kDone && actor.state != State::kKilled;
      if (actor.killable && alive && actor.started) result.push_back(static_cast<int>(i) + 100);
    }
    return result;
  }

  void take(int option) {
    if (option >= 100) {
      const int victim = option - 100;
      world_.actors[static_cast<size_t>(victim)].state = State::kKilled;
      if (world_.owner == victim) world_.owner_died = true;
      --world_.kills_left;
      return;
    }
    world_.current = option;
    Actor& actor = world_.actors[static_cast<size_t>(option)];
    actor.started = true;
    bc::transfer_t t = bc::jump_fcontext(actor.context, nullptr);
    actor.context = t.fctx;
    world_.current = -1;
  }

  // Nobody can move: either all are done, or somebody waits for ever. Then a newcomer reads
  // everything.
  bool finish() {
    for (size_t i = 0; i < world_.actors.size(); ++i) {
      const State state = world_.actors[i].state;
      if (state != State::kDone && state != State::kKilled) {
        fail("actor " + std::to_string(i) + " waits for ever");
        return false;
      }
    }
    world_.kills_left = 0;
    add_actor([] { read_file(0, kHalves); }, false);
    for (int steps = 0;; ++steps) {
      const std::vector<int> now = options();
      if (now.empty() || steps > 3000) break;
      take(now[0]);
    }
    if (world_.actors.back().state != State::kDone) fail("the newcomer waits for ever");
    return world_.failure.empty();
  }

  // A stack's bytes from the saved stack pointer up, red zones and all.
  __attribute__((no_sanitize("address"))) static uint64_t stack_word(const uint8_t* at) {
    return *reinterpret_cast<const uint64_t*>(at);
  }

  uint64_t hash() {
    uint64_t h = 1;
    const auto mix = [&h](uint64_t v) { h = mix64(h ^ v) + 0x9E3779B97F4A7C15ull; };
    mix(world_.entry()->head);
    mix(world_.entry()->intent);
    for (uint32_t b = 0; b < 2; ++b) mix(*varve_block_word(world_.arena(), world_.entry(), b));
    mix(static_cast<uint64_t>(world_.named + 1));
    for (uint8_t half : world_.storage) mix(half);
    for (const Inode& inode : world_.inodes) {
      for (uint8_t half : inode.halves) mix(half);
      mix(static_cast<uint64_t>(inode.size));
    }
    mix(static_cast<uint64_t>(world_.owner + 2) * 2 + (world_.owner_died ? 1 : 0));
    mix(static_cast<uint64_t>(world_.kills_left) * 2 + (world_.unlink_began ? 1 : 0));
    for (size_t i = 0; i < world_.actors.size(); ++i) {
      const Actor& actor = world_.actors[i];
      mix(static_cast<uint64_t>(actor.state));
      if (actor.state == State::kDone || actor.state == State::kKilled) continue;
      for (size_t half = 0; half < kHalves; ++half) {
        mix(world_.buffers[i].data[half * kHalf] * 256u + world_.buffers[i].fetched[half * kHalf]);
      }
      const auto* stack_end = stacks_[i]->data() + kStackBytes;
      const auto* from = static_cast<const uint8_t*>(actor.context);
      VARVE_CHECK(from >= stack_end - kStackHashed && from < stack_end);
      for (; from + 8 <= stack_end; from += 8) mix(stack_word(from));
    }
    mix(world_.ended);
    for (const Event& e : world_.events) {
      mix(e.before);
      for (uint8_t v : e.values) mix(v + 256u * static_cast<uint32_t>(e.file));
    }
    return h;
  }

  std::string describe() const {
    std::string text = world_.failure + " (";
    for (const Script& script : config_.scripts) text += std::string(script.name) + " ";
    return text + ")";
  }

  const Config& config_;
  World world_;
  std::array<uint8_t, 5 * 4096> laid_out_;
  std::vector<std::unique_ptr<std::array<uint8_t, kStackBytes>>> stacks_;
  std::unordered_set<uint64_t> seen_;
};

// ---- configurations ----

const Script kReader{"reader", [] { read_file(0, kHalves); }};
const Script kReader0{"reader0", [] { read_file(0, 2); }};
const Script kReader1{"reader1", [] { read_file(2, 2); }};
const Script kWriter0{"writer0", [] { write_file(0, 2, 10); }};
const Script kWriter1{"writer1", [] { write_file(2, 2, 11); }};
const Script kWriterBoth{"writer_both", [] { write_file(0, 4, 12); }};
const Script kWriterHalf{"writer_half", [] { write_file(1, 1, 13); }};
const Script kWriteThenRead{"write_then_read", [] {
                              write_file(0, 2, 14);
                              read_file(0, 2);
                            }};
const Script kTruncate0{"truncate0", [] { truncate_file(0); }};
const Script kTruncate1{"truncate1", [] { truncate_file(1); }};
const Script kTruncateExtend{"truncate_extend", [] {
                               truncate_file(0);
                               write_file(2, 2, 15);
                               read_file(0, 4);
                             }};
const Script kRecreate{"unlink_recreate", [] { unlink_and_recreate(16); }};
const Script kPrefetch{"prefetch", [] { prefetch(); }, false};
const Script kCreate{"create", [] {
                       int bound = 0;
                       (void)open_file(O_RDWR | O_CREAT, &bound);
                     }};
const Script kPunch{"punch", [] { punch(is_clean); }, false};
const Script kPunchIngested{"punch_ingested", [] { punch(is_ingested); }, false};

std::vector<Config> configurations() {
  std::vector<Config> all;
  const std::vector<std::vector<Script>> sets = {
      {kReader, kWriter0},
      {kReader, kWriterBoth},
      {kReader, kTruncate1},
      {kReader, kTruncateExtend},
      {kReader, kRecreate},
      {kCreate, kRecreate},
      {kReader0, kReader0},
      {kReader0, kPunchIngested, kWriter0},
      {kReader0, kReader0, kWriter0},
      {kReader, kPrefetch},
      {kReader0, kPrefetch, kWriter0},
      {kPrefetch, kWriterHalf},
      {kPrefetch, kWriteThenRead},
      {kPrefetch, kTruncateExtend},
      {kPrefetch, kRecreate},
      {kPrefetch, kRecreate, kReader1},
      {kReader0, kTruncate0, kWriter1},
      {kReader0, kRecreate, kPrefetch},
      {kReader0, kPunch},
      {kReader0, kPunch, kPrefetch},
      {kReader0, kPunch, kWriter0},
      {kPunch, kWriterHalf},
      {kPunch, kWriteThenRead, kPrefetch},
      {kPunch, kTruncate1, kReader1},
      {kPunch, kRecreate},
      {kWriterHalf, kTruncate0},
      {kWriterHalf, kWriter0, kReader0},
  };
  for (const std::vector<Script>& scripts : sets) {
    for (bool present : {false, true}) {
      Config config;
      config.scripts = scripts;
      config.present = present;
      all.push_back(config);
    }
  }
  Config four;
  four.scripts = {kReader0, kPrefetch, kPunch, kWriter0};
  four.present = true;
  all.push_back(four);
  for (const std::vector<Script>& scripts : {sets[0], sets[2], sets[6], sets[9], sets[11]}) {
    Config config;
    config.scripts = scripts;
    config.disk_full = true;
    all.push_back(config);
    config.disk_full = false;
    config.fetch_fails = true;
    all.push_back(config);
  }
  return all;
}

std::string explore_all(const std::string& mutant, size_t* states) {
  for (Config config : configurations()) {
    config.mutant = mutant;
    Explorer explorer(config);
    const std::string failure = explorer.run(4000000);
    *states += explorer.states();
    if (!failure.empty()) return failure;
  }
  return {};
}

TEST(ArenaModel, EveryInterleavingWithAKillAtEachStep) {
  size_t states = 0;
  EXPECT_EQ(explore_all("", &states), "");
  std::printf("%zu states\n", states);
  EXPECT_GT(states, 100000u);
}

TEST(ArenaModel, EachRuleIsNeeded) {
  for (const char* mutant :
       {"lock_is_robust", "recover_truncate", "recover_unlink", "fill_same_generation",
        "fill_not_present", "fill_same_version", "patience_ends", "read_wants_present",
        "read_looks_again", "write_fetches_edges", "write_marks_present", "truncate_lowers_base",
        "punch_changes_version"}) {
    size_t states = 0;
    const std::string failure = explore_all(mutant, &states);
    EXPECT_NE(failure, "") << mutant << " was not found";
    EXPECT_NE(failure, "more states than expected") << mutant;
    std::printf("%-24s %8zu states: %s\n", mutant, states, failure.c_str());
  }
}

}  // namespace
}  // namespace varve::arena_model
