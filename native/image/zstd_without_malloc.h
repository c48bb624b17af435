// Included before each source file of zstd (binding.gyp): makes its allocator always report that
// there is no memory. The functions that we use work in static workspaces. If any other function is
// ever called, it fails instead of taking the lock of malloc in a forked child.
#ifndef STILLFRAME_ZSTD_WITHOUT_MALLOC_H
#define STILLFRAME_ZSTD_WITHOUT_MALLOC_H
#define ZSTD_DEPS_MALLOC
#define ZSTD_malloc(size) ((void)(size), (void*)0)
#define ZSTD_calloc(count, size) ((void)(count), (void)(size), (void*)0)
#define ZSTD_free(pointer) ((void)(pointer))
#endif
