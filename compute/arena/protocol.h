/* What shim and agent say to each other over the agent's Unix socket.
 *
 * SOCK_SEQPACKET: a message comes whole or not at all, so a process that is killed in the middle
 * leaves nothing half-said. Every process of the compute has a connection of its own, made when it
 * first needs one; the postmaster makes its in the shim's constructor. A connection begins with
 * HELLO, which the agent answers with GO; before that nothing else is answered. The shim speaks,
 * the agent answers; only FETCH has an answer of several messages. Fields are little-endian, as the
 * machine is; structs have no padding. docs/formats/arena.md.
 *
 * Pure C11, for the shim (C) and the agent (C++).
 */
#pragma once

#include <stdint.h>

#include "compute/arena/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { VARVE_PROTOCOL_VERSION = 1, VARVE_MESSAGE_PAGES = 16, VARVE_TEXT_SIZE = 200 };

#define VARVE_PROTOCOL_MAGIC 0x4D494853u /* "SHIM" in memory */

/* Environment of the postmaster, set by the agent; the shim copies and removes it before main(). */
#define VARVE_ENV_ARENA_FD "VARVE_ARENA_FD" /* descriptor of the arena's memory file */
#define VARVE_ENV_LIFE_FD \
  "VARVE_LIFE_FD" /* read end of a pipe whose other end only the agent has */
#define VARVE_ENV_BELL_FD \
  "VARVE_BELL_FD"                       /* eventfd that wakes the agent: somebody is at the gate */
#define VARVE_ENV_SOCKET "VARVE_SOCKET" /* path of the agent's socket, absolute */
#define VARVE_ENV_DATA "VARVE_DATA"     /* the data directory, absolute, without a final slash */
#define VARVE_ENV_NONCE "VARVE_NONCE"   /* 16 hexadecimal digits */

enum varve_message_type {
  VARVE_HELLO = 1,    /* shim: varve_hello */
  VARVE_GO = 2,       /* agent: varve_go */
  VARVE_FETCH = 3,    /* shim: varve_fetch */
  VARVE_PAGES = 4,    /* agent: varve_pages, then `blocks` pages of 8192 bytes */
  VARVE_PREFETCH = 5, /* shim: varve_fetch with request 0; no answer */
  VARVE_NOTE = 6,     /* shim: varve_note; no answer */
};

enum varve_process_kind { VARVE_POSTMASTER = 1, VARVE_BACKEND = 2 };

struct varve_message {
  uint32_t magic;
  uint16_t version;
  uint16_t type;  /* enum varve_message_type */
  uint64_t nonce; /* of the incarnation; another one ends the connection */
};

struct varve_hello {
  struct varve_message message;
  uint32_t pid;
  uint32_t kind;          /* enum varve_process_kind */
  uint32_t arena_version; /* VARVE_ARENA_VERSION of the shim */
  uint32_t interposed;    /* symbols that the self-test found bound to the shim */
  uint32_t missed;        /* symbols bound to something else: the agent must not say GO */
  uint32_t reserved;
  char first_missed[40]; /* name of one of them, NUL-terminated */
};

struct varve_go {
  struct varve_message message;
  uint64_t term;   /* the won term: what the gate's word must carry */
  uint32_t accept; /* 1: go on; 0: exit, `text` says why */
  uint32_t reserved;
  char text[VARVE_TEXT_SIZE];
};

struct varve_fetch {
  struct varve_message message;
  uint64_t request;    /* echoed; grows with each request of a connection */
  uint64_t path_hash;  /* of the file, so that a wrong number is noticed */
  uint32_t entry;      /* number of the file in the arena */
  uint32_t generation; /* of the file, echoed */
  uint32_t first;
  uint32_t blocks; /* 1 .. VARVE_MESSAGE_PAGES for FETCH, any number for PREFETCH */
};

enum varve_fetch_status {
  VARVE_FETCH_OK = 0,
  VARVE_FETCH_RETRY = 1, /* storage can't be reached now: ask again after a pause */
  VARVE_FETCH_LOST = 2,  /* the page can't be rebuilt: an I/O error, whoever asks */
};

struct varve_pages {
  struct varve_message message;
  uint64_t request;
  uint64_t path_hash;
  uint32_t entry;
  uint32_t generation;
  uint32_t first;
  uint32_t
      blocks; /* pages that follow: at least 1 with OK, 0 otherwise; at most as many as asked for */
  uint64_t lsn;                      /* position at which storage was asked */
  uint32_t status;                   /* enum varve_fetch_status */
  uint32_t crc[VARVE_MESSAGE_PAGES]; /* CRC-32C of each page */
  uint32_t reserved;
};

enum varve_note_kind { VARVE_NOTE_UNKNOWN_FILE = 1, VARVE_NOTE_REFUSED = 2 };

struct varve_note {
  struct varve_message message;
  uint32_t kind; /* enum varve_note_kind */
  uint32_t reserved;
  char text[VARVE_TEXT_SIZE]; /* a path, or what was refused */
};

VARVE_STATIC_ASSERT(sizeof(struct varve_message) == 16, "the protocol is a format");
VARVE_STATIC_ASSERT(sizeof(struct varve_hello) == 80, "the protocol is a format");
VARVE_STATIC_ASSERT(sizeof(struct varve_go) == 232, "the protocol is a format");
VARVE_STATIC_ASSERT(sizeof(struct varve_fetch) == 48, "the protocol is a format");
VARVE_STATIC_ASSERT(sizeof(struct varve_pages) == 128, "the protocol is a format");
VARVE_STATIC_ASSERT(sizeof(struct varve_note) == 224, "the protocol is a format");

#ifdef __cplusplus
}
#endif
