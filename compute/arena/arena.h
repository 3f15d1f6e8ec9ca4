/* The arena: the memory that one compute's Postgres processes share with their agent.
 *
 * One anonymous memory file (memfd), mapped MAP_SHARED by the agent, which lays it out before
 * Postgres starts, and by the shim's constructor in the postmaster; children inherit the mapping.
 * It lives exactly as long as one incarnation of a compute and is never a disk file, so that no
 * flag in it can outlive the pages that it speaks of.
 *
 * It holds the commit gate's word, the published tail of the write-ahead log, a table of the lazy
 * files and one 32-bit word per lazy block. Everything in it is plain memory touched by atomics,
 * plus one robust mutex per file. What one may do with it is in operations.h; what is said over the
 * socket in protocol.h. The page docs/formats/arena.md has the layout and the argument.
 *
 * Pure C11, included by the shim (C) and by the agent (C++). VARVE_ARENA_STEP and VARVE_ARENA_SAW
 * mark each access to shared memory and what it saw: the model checker (arena_model_test.cc)
 * defines them to switch between actors; everywhere else they are nothing.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef VARVE_ARENA_STEP
#define VARVE_ARENA_STEP() ((void)0)
#define VARVE_ARENA_SAW(value) (value)
/* Names a condition that safety rests on; the test switches each off in turn and wants the damage
 * found. */
#define VARVE_ARENA_RULE(name, condition) (condition)
#endif

#ifdef __cplusplus
extern "C" {
#define VARVE_STATIC_ASSERT static_assert
#else
#define VARVE_STATIC_ASSERT _Static_assert
#endif

enum {
  VARVE_ARENA_VERSION = 1,
  VARVE_BLOCK_SIZE = 8192,
  VARVE_SEGMENT_BLOCKS = 131072, /* of a 1 GiB relation segment: no lazy file is longer */
  VARVE_PATH_SIZE = 64,          /* with the NUL */
};

#define VARVE_ARENA_MAGIC 0x414E455241565256ull /* "VRVARENA" in memory */

/* What this incarnation may do with its write-ahead log. */
enum varve_mode {
  VARVE_MODE_PRIMARY = 1, /* commits through the gate */
  VARVE_MODE_READER = 2,  /* a look at the past: any write of the log ends the process */
  VARVE_MODE_STANDBY = 3, /* replays: no gate, but only timeline 1 may be written */
};

enum varve_gate_state {
  VARVE_GATE_OPEN = 1,   /* may be advanced by its proposer */
  VARVE_GATE_CLOSED = 2, /* final: nobody who waits here ever returns */
};

/* ---- atomics
 * -------------------------------------------------------------------------------------------- */

static inline uint32_t varve_load32(const uint32_t* p) {
  VARVE_ARENA_STEP();
  return (uint32_t)VARVE_ARENA_SAW(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}
static inline uint64_t varve_load64(const uint64_t* p) {
  VARVE_ARENA_STEP();
  return (uint64_t)VARVE_ARENA_SAW(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}
static inline void varve_store32(uint32_t* p, uint32_t value) {
  VARVE_ARENA_STEP();
  __atomic_store_n(p, value, __ATOMIC_RELEASE);
}
static inline void varve_store64(uint64_t* p, uint64_t value) {
  VARVE_ARENA_STEP();
  __atomic_store_n(p, value, __ATOMIC_RELEASE);
}
/* 1 when *p was `expected` and is now `desired`. */
static inline int varve_cas32(uint32_t* p, uint32_t expected, uint32_t desired) {
  VARVE_ARENA_STEP();
  return (int)VARVE_ARENA_SAW((uint64_t)__atomic_compare_exchange_n(
      p, &expected, desired, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}
static inline void varve_count(uint64_t* counter, uint64_t by) {
  __atomic_fetch_add(counter, by, __ATOMIC_RELAXED);
}

/* ---- block words
 * ---------------------------------------------------------------------------------------- */

/* A block's word: state (bits 0-1), "somebody sleeps on this word" (bit 2), version (bits 3-31).
 * The version grows each time a present block is given up (punched), so that a reader that slept
 * over it, and a fetch that was asked for before it, both notice. All zeros, the state of untouched
 * memory, is MISSING. */
enum varve_block_state {
  VARVE_BLOCK_MISSING = 0, /* storage has it, the file does not */
  VARVE_BLOCK_FETCHING =
      1, /* as MISSING, and somebody said that he would fetch it: a hint, not a lock */
  VARVE_BLOCK_PRESENT = 2, /* the file has it; storage's version is never looked at again */
};
enum { VARVE_WORD_STATE = 3, VARVE_WORD_SLEEPERS = 4, VARVE_WORD_VERSION_SHIFT = 3 };

static inline enum varve_block_state varve_word_state(uint32_t word) {
  return (enum varve_block_state)(word & VARVE_WORD_STATE);
}
static inline uint32_t varve_word_version(uint32_t word) {
  return word >> VARVE_WORD_VERSION_SHIFT;
}
static inline uint32_t varve_word(enum varve_block_state state, uint32_t version) {
  return (uint32_t)state | version << VARVE_WORD_VERSION_SHIFT;
}

/* ---- files
 * ---------------------------------------------------------------------------------------------- */

/* A file's head is one word, so that a reader without a lock sees its parts together: generation
 * (high 32 bits), dead (bit 31), base (bits 0-30). The base is the number of leading blocks of
 * which storage may hold a version; a block at or above it is wholly local. It only ever shrinks.
 * The generation grows with each truncate and with the unlink. A dead entry stays dead: a new file
 * of that name is local. */
static inline uint64_t varve_head(uint32_t generation, int dead, uint32_t base) {
  return (uint64_t)generation << 32 | (dead ? 1u << 31 : 0u) | base;
}
static inline uint32_t varve_head_generation(uint64_t head) {
  return (uint32_t)(head >> 32);
}
static inline int varve_head_dead(uint64_t head) {
  return (head & 1u << 31) != 0;
}
static inline uint32_t varve_head_base(uint64_t head) {
  return (uint32_t)head & 0x7FFFFFFFu;
}

/* What the holder of a file's lock is about to do to the file itself; whoever finds the holder dead
 * finishes it. Operation (bits 62-63), blocks (bits 32-61), generation before it (bits 0-31). Zero
 * is "nothing". */
enum varve_intent { VARVE_INTENT_NONE = 0, VARVE_INTENT_TRUNCATE = 1, VARVE_INTENT_UNLINK = 2 };

static inline uint64_t varve_intent(enum varve_intent what, uint32_t blocks, uint32_t generation) {
  return (uint64_t)what << 62 | (uint64_t)blocks << 32 | generation;
}
static inline enum varve_intent varve_intent_what(uint64_t intent) {
  return (enum varve_intent)(intent >> 62);
}
static inline uint32_t varve_intent_blocks(uint64_t intent) {
  return (uint32_t)(intent >> 32) & 0x3FFFFFFFu;
}
static inline uint32_t varve_intent_generation(uint64_t intent) {
  return (uint32_t)intent;
}

/* One lazy file. Entries are written by the agent before Postgres starts and never reused. */
struct varve_entry {
  uint64_t head;
  uint64_t intent;
  uint64_t first_word;        /* index of block 0's word */
  uint64_t hash;              /* varve_path_hash(path) */
  uint32_t number;            /* of this entry; its place in the table */
  uint32_t pinned;            /* not 0: somebody reads it past the shim (fopen), never punch it */
  char path[VARVE_PATH_SIZE]; /* relative to the data directory */
  union {
    pthread_mutex_t
        mutex; /* process-shared, robust; held over local file operations only, never over a wait */
    uint64_t space[8];
  } lock;
};
VARVE_STATIC_ASSERT(sizeof(struct varve_entry) == 168, "the arena's layout is a format");

/* ---- the log's tail and the gate
 * ------------------------------------------------------------------------ */

/* What was last written to the log, by whichever process; stored after its pwrite returned. Guarded
 * by `seq` (odd while it is being written): Postgres writes its log under one lock, so there is one
 * writer; one that died half-way leaves `seq` odd and the gate shut. */
struct varve_wal_tail {
  uint64_t seq;
  uint64_t end;           /* LSN behind the last page written */
  uint64_t write_start;   /* LSN where that write began */
  uint64_t nonzero_lsn;   /* of the last 8 bytes of that write that are not zero; 0 = all were */
  uint64_t nonzero_value; /* those bytes, little-endian */
  uint64_t page_address;  /* of the last page in Postgres' log buffers, the same in all processes */
  uint64_t inserted; /* how far Postgres had given out places; 0 = not known. Told at each gate */
  uint64_t flushed;  /* what Postgres itself believes to be flushed. Told now and then */
  uint64_t tickets;  /* number of times that somebody came to the gate */
};

/* Written by the agent alone, and only for quorum acknowledgements in its own term of bytes that it
 * appended. Whoever came with ticket t may pass when `answered` >= t, nonce and term are his own,
 * and state is open. */
struct varve_gate {
  uint64_t nonce;
  uint64_t term;
  uint64_t lsn;      /* the quorum holds every record that ends here or before */
  uint64_t answered; /* highest ticket that may pass */
  uint64_t rewrite;  /* grows when the last page should be written again from its buffer */
  uint32_t state;    /* enum varve_gate_state */
  uint32_t bell;     /* futex word; grows with every change above */
};

struct varve_counters {
  uint64_t fetches;        /* requests sent by readers */
  uint64_t fetched_blocks; /* blocks that readers filled */
  uint64_t direct_blocks;  /* handed to the reader because the disk was full */
  uint64_t takeovers;      /* a reader stopped waiting for another's fetch and fetched himself */
  uint64_t dropped_blocks; /* fetched, then not needed: a writer, truncate or unlink came first */
  uint64_t prefetch_hints;
  uint64_t read_errors;
  uint64_t recoveries; /* locks whose holder had died */
  uint64_t gate_passes;
  uint64_t gate_waits_us;
  uint64_t wal_writes;
  uint64_t rewrites;
};

struct varve_arena {
  uint64_t magic;
  uint32_t version;
  uint32_t mode;  /* enum varve_mode */
  uint64_t nonce; /* of this incarnation */
  uint64_t bytes; /* of the whole mapping */
  uint64_t index_offset;
  uint64_t entries_offset;
  uint64_t words_offset;
  uint64_t word_count;
  uint32_t index_slots; /* a power of two */
  uint32_t entry_capacity;
  uint32_t entry_count;
  uint32_t wal_segment_bytes;
  uint8_t pad0[48];
  struct varve_wal_tail tail;
  uint8_t pad1[56];
  struct varve_gate gate;
  uint8_t pad2[80];
  struct varve_counters counters;
  uint8_t pad3[32];
  uint64_t unknown_files[64]; /* a bit per hash of a path that was reported once */
};
VARVE_STATIC_ASSERT(offsetof(struct varve_arena, tail) == 128, "the arena's layout is a format");
VARVE_STATIC_ASSERT(offsetof(struct varve_arena, gate) == 256, "the arena's layout is a format");
VARVE_STATIC_ASSERT(offsetof(struct varve_arena, counters) == 384,
                    "the arena's layout is a format");
VARVE_STATIC_ASSERT(sizeof(struct varve_arena) == 1024, "the arena's layout is a format");

/* ---- layout
 * --------------------------------------------------------------------------------------------- */

/* FNV-1a, then SplitMix64's finaliser, since the low bits pick the slot. */
static inline uint64_t varve_path_hash(const char* path) {
  uint64_t h = 0xCBF29CE484222325ull;
  for (; *path != 0; ++path) h = (h ^ (uint8_t)*path) * 0x100000001B3ull;
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ull;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EBull;
  return h ^ (h >> 31);
}

static inline uint64_t varve_page_aligned(uint64_t bytes) {
  return (bytes + 4095) & ~(uint64_t)4095;
}

/* Words that `blocks` blocks take: whole cache lines, so that two files never share one. */
static inline uint64_t varve_words_of(uint64_t blocks) {
  return (blocks + 15) & ~(uint64_t)15;
}

/* Fills in the layout for `files` lazy files whose varve_words_of() add up to `words`. `arena` may
 * be a scratch header: the caller reads arena->bytes, makes a mapping of that size (sparse: memory
 * is used where it is touched, 4 bytes per touched block, 512 MiB if every block of 1 TiB is) and
 * calls it again on the mapping, which must be zero. */
static inline void varve_arena_layout(struct varve_arena* arena, uint32_t files, uint64_t words) {
  memset(arena, 0, sizeof *arena);
  uint32_t slots = 16;
  while (slots < 2 * (uint64_t)files) slots *= 2;
  arena->index_offset = varve_page_aligned(sizeof *arena);
  arena->entries_offset =
      varve_page_aligned(arena->index_offset + (uint64_t)slots * sizeof(uint32_t));
  arena->words_offset =
      varve_page_aligned(arena->entries_offset + (uint64_t)files * sizeof(struct varve_entry));
  arena->word_count = words;
  arena->bytes = varve_page_aligned(arena->words_offset + words * sizeof(uint32_t));
  arena->index_slots = slots;
  arena->entry_capacity = files;
}

/* Makes the laid-out arena usable. Called once, by the agent. */
static inline void varve_arena_open(struct varve_arena* arena, enum varve_mode mode, uint64_t nonce,
                                    uint64_t term, uint32_t wal_segment_bytes) {
  arena->version = VARVE_ARENA_VERSION;
  arena->mode = (uint32_t)mode;
  arena->nonce = nonce;
  arena->wal_segment_bytes = wal_segment_bytes;
  arena->gate.nonce = nonce;
  arena->gate.term = term;
  arena->gate.state = VARVE_GATE_OPEN;
  __atomic_store_n(&arena->magic, VARVE_ARENA_MAGIC, __ATOMIC_RELEASE);
}

/* NULL when `arena`, mapped with `mapped` bytes, is one that this code may use for incarnation
 * `nonce`; else a sentence that says why not. */
static inline const char* varve_arena_problem(const struct varve_arena* arena, uint64_t mapped,
                                              uint64_t nonce) {
  if (mapped < sizeof *arena) return "the arena is shorter than its header";
  if (arena->magic != VARVE_ARENA_MAGIC) return "this is not an arena";
  if (arena->version != VARVE_ARENA_VERSION) return "the arena has another version than this shim";
  if (arena->nonce != nonce) return "the arena belongs to another incarnation";
  if (arena->bytes != mapped) return "the arena is not as long as it says";
  if (arena->mode < VARVE_MODE_PRIMARY || arena->mode > VARVE_MODE_STANDBY)
    return "the arena has no mode";
  return NULL;
}

static inline uint32_t* varve_index(struct varve_arena* arena) {
  return (uint32_t*)(void*)((char*)arena + arena->index_offset);
}
static inline struct varve_entry* varve_entry_at(struct varve_arena* arena, uint32_t number) {
  return (struct varve_entry*)(void*)((char*)arena + arena->entries_offset) + number;
}
static inline uint32_t* varve_block_word(struct varve_arena* arena, const struct varve_entry* entry,
                                         uint32_t block) {
  return (uint32_t*)(void*)((char*)arena + arena->words_offset) + entry->first_word + block;
}

/* The live or dead entry of a path relative to the data directory, or NULL: the file is wholly
 * local. */
static inline struct varve_entry* varve_find(struct varve_arena* arena, const char* path) {
  const uint64_t hash = varve_path_hash(path);
  for (uint32_t i = 0, slot = (uint32_t)hash; i < arena->index_slots; ++i, ++slot) {
    const uint32_t found =
        __atomic_load_n(&varve_index(arena)[slot & (arena->index_slots - 1)], __ATOMIC_ACQUIRE);
    if (found == 0) return NULL;
    struct varve_entry* entry = varve_entry_at(arena, found - 1);
    if (entry->hash == hash && strcmp(entry->path, path) == 0) return entry;
  }
  return NULL;
}

/* Adds a lazy file of `blocks` blocks, all MISSING. Only the agent, before Postgres runs. NULL when
 * there is no room, the path is too long, the file too big, or it is there already. `used_words` is
 * the caller's count of words given out so far and is advanced. */
static inline struct varve_entry* varve_add_file(struct varve_arena* arena, const char* path,
                                                 uint32_t blocks, uint64_t* used_words) {
  const size_t length = strlen(path);
  const uint32_t number = arena->entry_count;
  const uint64_t words = varve_words_of(blocks);
  if (length == 0 || length >= VARVE_PATH_SIZE || blocks > VARVE_SEGMENT_BLOCKS) return NULL;
  if (number >= arena->entry_capacity || words > arena->word_count - *used_words) return NULL;
  if (varve_find(arena, path) != NULL) return NULL;
  struct varve_entry* entry = varve_entry_at(arena, number);
  memset(entry, 0, sizeof *entry);
  memcpy(entry->path, path, length);
  entry->head = varve_head(1, 0, blocks);
  entry->first_word = *used_words;
  entry->hash = varve_path_hash(path);
  entry->number = number;
  pthread_mutexattr_t kind;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&entry->lock.mutex, &kind);
  pthread_mutexattr_destroy(&kind);
  *used_words += words;
  arena->entry_count = number + 1;
  uint32_t slot = (uint32_t)entry->hash & (arena->index_slots - 1);
  while (varve_index(arena)[slot] != 0) slot = (slot + 1) & (arena->index_slots - 1);
  __atomic_store_n(&varve_index(arena)[slot], number + 1, __ATOMIC_RELEASE);
  return entry;
}

/* ---- reading and writing the tail
 * ----------------------------------------------------------------------- */

/* Publishes one write of the log. The caller holds Postgres' WAL write lock, so it is alone. `seq`
 * and `tickets` of `told` are ignored. */
static inline void varve_tail_publish(struct varve_wal_tail* tail,
                                      const struct varve_wal_tail* told) {
  const uint64_t seq = varve_load64(&tail->seq);
  varve_store64(&tail->seq, seq | 1); /* odd already: its writer died, and odd it stays */
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  varve_store64(&tail->end, told->end);
  varve_store64(&tail->write_start, told->write_start);
  varve_store64(&tail->nonzero_lsn, told->nonzero_lsn);
  varve_store64(&tail->nonzero_value, told->nonzero_value);
  varve_store64(&tail->page_address, told->page_address);
  if ((seq & 1) == 0) varve_store64(&tail->seq, seq + 2);
}

/* A consistent copy of the tail into `out`: 1; 0 when it is being written (or its writer died). */
static inline int varve_tail_read(const struct varve_wal_tail* tail, struct varve_wal_tail* out) {
  out->tickets =
      varve_load64(&tail->tickets); /* before the rest: every ticket counted here was published */
  out->flushed = varve_load64(&tail->flushed);
  out->inserted = varve_load64(&tail->inserted);
  const uint64_t seq = varve_load64(&tail->seq);
  if (seq & 1) return 0;
  out->end = varve_load64(&tail->end);
  out->write_start = varve_load64(&tail->write_start);
  out->nonzero_lsn = varve_load64(&tail->nonzero_lsn);
  out->nonzero_value = varve_load64(&tail->nonzero_value);
  out->page_address = varve_load64(&tail->page_address);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  out->seq = seq;
  return varve_load64(&tail->seq) == seq;
}

/* May whoever came with `ticket` pass? -1: never (closed, or another incarnation or term); 0: not
 * yet; 1: yes. */
static inline int varve_gate_verdict(const struct varve_gate* gate, uint64_t nonce, uint64_t term,
                                     uint64_t ticket) {
  const uint64_t answered = varve_load64(&gate->answered);
  if (varve_load64(&gate->nonce) != nonce || varve_load64(&gate->term) != term) return -1;
  if (varve_load32(&gate->state) != VARVE_GATE_OPEN) return -1;
  return answered >= ticket;
}

#ifdef __cplusplus
}
#endif
