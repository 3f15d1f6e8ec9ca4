# Compiler settings that hold in every preset.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
# No NDEBUG anywhere: assertions stay on. -g1 keeps function names and lines for crash prints.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")

# -Wno-restrict and -Wno-maybe-uninitialized: false positives of gcc 12 on std::string and std::variant.
add_compile_options(
  -Wall -Wextra -Werror -Wdate-time -Wvla -fno-omit-frame-pointer -ffp-contract=off
  -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=
  "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-restrict;-Wno-maybe-uninitialized;-Wno-stringop-overflow;-Wno-array-bounds>")

option(VARVE_SANITIZE "address and undefined-behaviour sanitizers" OFF)
if(VARVE_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-fno-sanitize-recover=all>")
  add_compile_definitions("$<$<COMPILE_LANGUAGE:CXX>:_GLIBCXX_ASSERTIONS>")
  add_link_options("$<$<LINK_LANGUAGE:CXX>:-fsanitize=address,undefined>")
endif()

find_program(VARVE_CCACHE ccache)
if(VARVE_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${VARVE_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${VARVE_CCACHE})
endif()
find_program(VARVE_MOLD mold)
if(VARVE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
