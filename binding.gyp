{
  "variables": {
    # xxHash comes as C source in a package; a release carries a copy for those who build from it.
    "xxhash_dir": "<!(node -p \"fs.existsSync('vendor/xxhash') ? 'vendor/xxhash' : path.join(path.dirname(require.resolve('xxhash-addon/package.json')), 'xxHash')\")",
    # So does zstd.
    "zstd_dir": "<!(node -p \"fs.existsSync('vendor/zstd') ? 'vendor/zstd' : path.relative('.', path.join(path.dirname(require.resolve('zstd-napi/package.json')), 'deps/zstd/lib'))\")",
    # Of compilers nobody tried yet, users get warnings; here and in CI a warning is an error.
    "warnings_are": "<!(node -p \"process.env.STILLFRAME_STRICT ? '-Werror' : '-Wno-error'\")"
  },
  "target_defaults": {
    "cflags!": ["-fno-exceptions", "-O3"],
    "cflags": ["-fvisibility=hidden", "-Wall", "-Wextra", "<(warnings_are)", "-O2"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
    # gcc 12 takes every std::optional that is returned for uninitialized.
    "cflags_cc": ["-std=c++20", "-fno-exceptions", "-Wno-missing-field-initializers", "-Wno-maybe-uninitialized"],
    "include_dirs": ["native", "<(xxhash_dir)", "<(zstd_dir)"]
  },
  "targets": [
    {
      # Without threads and without malloc: see native/image/zstd_without_malloc.h.
      "target_name": "stillframe_zstd",
      "type": "static_library",
      "cflags!": ["-Wall", "-Wextra"],
      "cflags": ["-w", "-include", "<(module_root_dir)/native/image/zstd_without_malloc.h"],
      # Node has symbols of the same names.
      "defines": ["ZSTDLIB_VISIBLE=", "ZSTDERRORLIB_VISIBLE=", "XXH_NAMESPACE=ZSTD_", "ZSTD_NO_TRACE", "DEBUGLEVEL=0"],
      "sources": [
        "<(zstd_dir)/common/debug.c",
        "<(zstd_dir)/common/entropy_common.c",
        "<(zstd_dir)/common/error_private.c",
        "<(zstd_dir)/common/fse_decompress.c",
        "<(zstd_dir)/common/xxhash.c",
        "<(zstd_dir)/common/zstd_common.c",
        "<(zstd_dir)/compress/fse_compress.c",
        "<(zstd_dir)/compress/hist.c",
        "<(zstd_dir)/compress/huf_compress.c",
        "<(zstd_dir)/compress/zstd_compress.c",
        "<(zstd_dir)/compress/zstd_compress_literals.c",
        "<(zstd_dir)/compress/zstd_compress_sequences.c",
        "<(zstd_dir)/compress/zstd_compress_superblock.c",
        "<(zstd_dir)/compress/zstd_double_fast.c",
        "<(zstd_dir)/compress/zstd_fast.c",
        "<(zstd_dir)/compress/zstd_lazy.c",
        "<(zstd_dir)/compress/zstd_ldm.c",
        "<(zstd_dir)/compress/zstd_opt.c",
        "<(zstd_dir)/compress/zstd_preSplit.c",
        "<(zstd_dir)/decompress/huf_decompress.c",
        "<(zstd_dir)/decompress/huf_decompress_amd64.S",
        "<(zstd_dir)/decompress/zstd_ddict.c",
        "<(zstd_dir)/decompress/zstd_decompress.c",
        "<(zstd_dir)/decompress/zstd_decompress_block.c"
      ]
    },
    {
      # Everything below the addon: knows nothing of Node.
      "target_name": "stillframe_core",
      "type": "static_library",
      "dependencies": ["stillframe_zstd"],
      "sources": [
        "native/base/disabled_steps.cc",
        "native/base/mapping.cc",
        "native/base/result.cc",
        "native/base/small_file.cc",
        "native/base/sys.cc",
        "native/base/thread.cc",
        "native/capture/capture.cc",
        "native/capture/chain_engine.cc",
        "native/capture/cost_schedule.cc",
        "native/capture/parent_sums.cc",
        "native/capture/space_check.cc",
        "native/capture/supervisor.cc",
        "native/freeze/direct_reads.cc",
        "native/freeze/fault_router.cc",
        "native/freeze/features.cc",
        "native/freeze/flip_lock.cc",
        "native/freeze/fork_engine.cc",
        "native/freeze/fork_probe.cc",
        "native/freeze/forked_process.cc",
        "native/freeze/frame_record.cc",
        "native/freeze/frozen_memory.cc",
        "native/freeze/in_process_engine.cc",
        "native/freeze/mprotect_engine.cc",
        "native/freeze/own_pages.cc",
        "native/freeze/saver_threads.cc",
        "native/freeze/slot_pool.cc",
        "native/freeze/tracked_region.cc",
        "native/freeze/tracking_engine.cc",
        "native/freeze/userfaultfd.cc",
        "native/freeze/userfaultfd_engine.cc",
        "native/image/block_check.cc",
        "native/image/block_codec.cc",
        "native/image/block_layout.cc",
        "native/image/checksum.cc",
        "native/image/control_block.cc",
        "native/image/direct_reader.cc",
        "native/image/encoding.cc",
        "native/image/file_sink.cc",
        "native/image/file_source.cc",
        "native/image/flat_layout.cc",
        "native/image/frame_difference.cc",
        "native/image/gap_check.cc",
        "native/image/image_file.cc",
        "native/image/image_layout.cc",
        "native/image/image_opener.cc",
        "native/image/image_sweep.cc",
        "native/image/packed_layout.cc",
        "native/image/page_presence.cc",
        "native/image/page_sums.cc",
        "native/image/parent_search.cc",
        "native/image/read_scratch.cc",
        "native/image/saver.cc",
        "native/image/tail.cc",
        "native/memory/available_memory.cc",
        "native/memory/cgroup.cc",
        "native/memory/checked_copy.cc",
        "native/memory/huge_pages.cc",
        "native/memory/mapping_budget.cc",
        "native/memory/mapping_list.cc",
        "native/memory/memory_use.cc",
        "native/memory/prefetch.cc",
        "native/memory/region.cc",
        "native/publish/disk_work.cc",
        "native/publish/replaceable.cc",
        "native/publish/target_file.cc",
        "native/publish/target_reservation.cc",
        "native/publish/temporary_name.cc",
        "native/publish/write_some.cc",
        "native/restore/overlay.cc",
        "native/restore/restore.cc",
        "native/restore/section_choice.cc"
      ]
    },
    {
      # The forked child, as its own unit: nothing in it may allocate, lock or throw.
      "target_name": "stillframe_child",
      "type": "static_library",
      "cflags": ["-fno-stack-protector"],
      "cflags_cc": ["-fno-rtti", "-fno-threadsafe-statics"],
      "sources": ["native/child/child.cc", "native/child/forked_pages.cc", "native/child/hardening.cc"]
    },
    {
      "target_name": "stillframe",
      "dependencies": ["stillframe_core", "stillframe_child"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
      # Swallow: while an environment ends its calls fail, and so does throwing; that must end nobody else.
      "defines": [
        "NAPI_VERSION=9",
        "NAPI_DISABLE_CPP_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "sources": [
        "native/addon/addon.cc",
        "native/addon/capture_handle.cc",
        "native/addon/describe_image.cc",
        "native/addon/environment.cc",
        "native/addon/failure.cc",
        "native/addon/fault_injection.cc",
        "native/addon/file_lock.cc",
        "native/addon/large_buffer.cc",
        "native/addon/machine.cc",
        "native/addon/plan.cc",
        "native/addon/read_job.cc",
        "native/addon/read_jobs.cc",
        "native/addon/region_handle.cc",
        "native/addon/restore_job.cc",
        "native/addon/sources.cc"
      ],
      # nodelete: a Worker's end must not unmap the handler of a fault signal.
      "ldflags": ["-Wl,-z,nodelete", "-Wl,-Bsymbolic", "-Wl,--exclude-libs,ALL", "-Wl,-z,now"]
    },
    {
      # V8 and Node themselves, no Node-API alone: one binary for each major version of Node.
      "target_name": "stillframe_heap",
      "dependencies": ["stillframe_core", "stillframe_child"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9",
        "NAPI_DISABLE_CPP_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "sources": [
        "native/addon/environment.cc",
        "native/addon/failure.cc",
        "native/addon/fault_injection.cc",
        "native/addon/plan.cc",
        "native/heap/class_histogram.cc",
        "native/heap/fault_guard.cc",
        "native/heap/fork_job.cc",
        "native/heap/fresh_ids.cc",
        "native/heap/heap_addon.cc",
        "native/heap/heap_layout.cc",
        "native/heap/heap_pages.cc",
        "native/heap/heap_summary.cc",
        "native/heap/heap_threads.cc",
        "native/heap/heap_walk.cc",
        "native/heap/in_copy.cc",
        "native/heap/json_writer.cc",
        "native/heap/masked_text.cc",
        "native/heap/memory_watch.cc",
        "native/heap/output.cc",
        "native/heap/pair_name.cc",
        "native/heap/payload_scan.cc",
        "native/heap/redactor.cc",
        "native/heap/self_watch.cc",
        "native/heap/snapshot_filter.cc",
        "native/heap/summary_file.cc",
        "native/heap/unforkable.cc",
        "native/heap/value_writer.cc",
        "native/heap/watch_handle.cc",
        "native/heap/worker_park.cc"
      ],
      # nodelete: its threads, and tasks in V8's queues, may outlive a Worker that has loaded it.
      "ldflags": ["-Wl,-z,nodelete", "-Wl,-Bsymbolic", "-Wl,--exclude-libs,ALL", "-Wl,-z,now"]
    }
  ]
}
