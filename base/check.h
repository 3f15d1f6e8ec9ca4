// Assertions that stay on in production.
//
// VARVE_CHECK states what must be true whatever the input; a violation is a bug of ours and ends
// the process, because continuing on a broken invariant is how data is lost. Bytes from outside (a
// file, a packet, a flag) are never checked with it: bad bytes become a Status.
#pragma once

namespace varve {

// Prints the broken invariant with its place and aborts. Never returns. Safe on a fiber stack: it
// formats nothing and allocates nothing.
[[noreturn]] void check_failed(const char* expression, const char* file, int line,
                               const char* message) noexcept;

}  // namespace varve

#define VARVE_CHECK(expression)                       \
  (__builtin_expect(static_cast<bool>(expression), 1) \
       ? static_cast<void>(0)                         \
       : ::varve::check_failed(#expression, __FILE__, __LINE__, nullptr))

// As VARVE_CHECK, with one sentence that says what the violation would mean.
#define VARVE_CHECK_MSG(expression, message)          \
  (__builtin_expect(static_cast<bool>(expression), 1) \
       ? static_cast<void>(0)                         \
       : ::varve::check_failed(#expression, __FILE__, __LINE__, message))

#define VARVE_UNREACHABLE(message) ::varve::check_failed("unreachable", __FILE__, __LINE__, message)
