/* Put in front of every file of llama.cpp (-include) where GCC's own AMX intrinsics are wrong.

   GCC before 12.4, and 13.0 to 13.2, tells its optimiser that _tile_loadconfig reads 8 of the 64
   bytes of a tile configuration. The stores of the other 56 are dropped, and the first AMX
   instruction ends the process by SIGILL. Here both intrinsics name all 64 bytes.

   Sources: https://gcc.gnu.org/PR114098, https://github.com/ggml-org/llama.cpp/pull/26954 */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AMX_TILE__)
#include <immintrin.h>
#undef _tile_loadconfig
#undef _tile_storeconfig
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg %0" : : "m"(*(const char(*)[64])(config)) : "memory")
#define _tile_storeconfig(config) \
    __asm__ volatile("sttilecfg %0" : "=m"(*(char(*)[64])(config)) : : "memory")
#endif
