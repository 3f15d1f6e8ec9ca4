#include "runtime/port/context.h"

#include <cxxabi.h>

#include <boost/context/detail/fcontext.hpp>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define VARVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VARVE_ASAN 1
#endif
#endif

#if defined(VARVE_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif

namespace varve::port {
namespace {

namespace fc = boost::context::detail;

// The functions around a jump must keep their locals on the real stack: leaving for good frees the
// sanitizer's fake one under their feet, and an instrumented epilogue would still write to it.
#if defined(VARVE_ASAN)
#define VARVE_ON_REAL_STACK __attribute__((no_sanitize_address, noinline))
#else
#define VARVE_ON_REAL_STACK
#endif

// The runtime's per-thread record, as the Itanium C++ ABI lays it out.
struct EhGlobals {
  void* caught;
  unsigned int uncaught;
};

EhGlobals& eh_globals() {
  return *reinterpret_cast<EhGlobals*>(abi::__cxa_get_globals());
}

// What travels with a jump: who left, who was entered, and for a first entry what to call.
struct Jump {
  Context* from;
  Context* to;
};

struct Start {
  void (*entry)(void*);
  void* argument;
};

VARVE_ON_REAL_STACK void before_switch(Context& from, Context& to, bool leaving_for_good) {
  EhGlobals& globals = eh_globals();
  from.exceptions = {globals.caught, globals.uncaught};
  globals = {to.exceptions.caught, to.exceptions.uncaught};
#if defined(VARVE_ASAN)
  __sanitizer_start_switch_fiber(leaving_for_good ? nullptr : &from.fake_stack, to.stack_bottom,
                                 to.stack_size);
#else
  (void)leaving_for_good;
#endif
}

// First code on the side that was entered. `left` learns its own stack, which for a thread's stack
// nobody knew.
VARVE_ON_REAL_STACK void after_switch(Context& entered, Context& left) {
#if defined(VARVE_ASAN)
  __sanitizer_finish_switch_fiber(entered.fake_stack, &left.stack_bottom, &left.stack_size);
#else
  (void)entered;
  (void)left;
#endif
}

VARVE_ON_REAL_STACK void first_entry(fc::transfer_t transfer) {
  const Jump jump = *static_cast<Jump*>(transfer.data);
  jump.from->position = transfer.fctx;
  auto* start = static_cast<Start*>(jump.to->fake_stack);
  jump.to->fake_stack = nullptr;
  after_switch(*jump.to, *jump.from);
  const Start copy = *start;
  delete start;
  copy.entry(copy.argument);
  VARVE_UNREACHABLE("a fiber's entry must end with finish_switch");
}

}  // namespace

void prepare_context(Context& context, const Stack& stack, void (*entry)(void*), void* argument) {
  context = Context{};
  context.position = fc::make_fcontext(stack.top(), stack.size, first_entry);
  context.stack_bottom = stack.bottom;
  context.stack_size = stack.size;
  // Until the first entry the sanitizer's slot is free to carry what to call.
  context.fake_stack = new Start{entry, argument};
}

VARVE_ON_REAL_STACK void switch_context(Context& from, Context& to) {
  before_switch(from, to, false);
  Jump jump{&from, &to};
  const fc::transfer_t transfer = fc::jump_fcontext(to.position, &jump);
  // Whoever came back says so; it need not be the one we left for.
  const Jump& back = *static_cast<Jump*>(transfer.data);
  back.from->position = transfer.fctx;
  after_switch(from, *back.from);
}

VARVE_ON_REAL_STACK void finish_switch(Context& from, Context& to) {
  before_switch(from, to, true);
  Jump jump{&from, &to};
  fc::jump_fcontext(to.position, &jump);
  VARVE_UNREACHABLE("a finished fiber was entered again");
}

__attribute__((noinline)) bool inside_catch() {
  return eh_globals().caught != nullptr;
}

}  // namespace varve::port
