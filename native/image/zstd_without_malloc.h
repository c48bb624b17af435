// Included before each source of zstd (binding.gyp): its allocator always answers that there is no memory. What we
// use works in static workspaces; should anything else ever be called, it fails instead of taking malloc's lock in a
// forked child.
#ifndef STILLFRAME_ZSTD_WITHOUT_MALLOC_H
#define STILLFRAME_ZSTD_WITHOUT_MALLOC_H
#define ZSTD_DEPS_MALLOC
#define ZSTD_malloc(size) ((void)(size), (void*)0)
#define ZSTD_calloc(count, size) ((void)(count), (void)(size), (void*)0)
#define ZSTD_free(pointer) ((void)(pointer))
#endif
