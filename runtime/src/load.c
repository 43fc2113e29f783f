/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The dynamic loader, on the descriptor that was checked. */
#define _GNU_SOURCE
#include "model.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct search {
  const struct lathe_elf_view *view;
  const struct lathe_artifact *artifact;
  uint64_t base;
  bool same;
};

static int compare_object(struct dl_phdr_info *info, size_t size, void *argument) {
  struct search *search = argument;
  const struct lathe_elf_view *view = search->view;
  if (info->dlpi_addr != search->base || info->dlpi_phnum != view->ehdr.e_phnum) {
    return 0;
  }
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    Elf64_Phdr loaded = info->dlpi_phdr[i], checked = view->phdr[i];
    loaded.p_offset = checked.p_offset = 0;
    if (memcmp(&loaded, &checked, sizeof loaded) != 0) {
      return 1;
    }
  }
  /* Equal program headers map the note at the same place, and equal notes are equal sums of all contents. */
  const char *note = (const char *)(uintptr_t)(search->base + search->artifact->note);
  search->same =
      memcmp(note + LATHE_NOTE_PREFIX_BYTES, &search->artifact->header, sizeof search->artifact->header) == 0;
  return 1;
}

/* The C library takes a library that it loaded under the same name for the one asked for, without a look at
 * the file. Names of descriptors are reused, so what came back has to be compared with what was checked;
 * another descriptor has another name. */
static lathe_error_code load(int fd, const char *name, const struct lathe_elf_view *view,
                             const struct lathe_artifact *artifact, void **library, const uint8_t **base) {
  enum { ATTEMPTS = 64 };
  int current = fd;
  for (int i = 0; i < ATTEMPTS; ++i) {
    char path[48];
    snprintf(path, sizeof path, "/proc/self/fd/%d", current);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    struct link_map *map = NULL;
    if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
      const char *why = dlerror();
      lathe_fail(LATHE_ERROR_LOAD, "\"%s\" cannot be loaded: %s", name, why ? why : "unknown error");
      if (handle) {
        dlclose(handle);
      }
      break;
    }
    struct search search = {view, artifact, map->l_addr, false};
    dl_iterate_phdr(compare_object, &search);
    if (search.same) {
      if (current != fd) {
        close(current);
      }
      *library = handle;
      *base = (const uint8_t *)map->l_addr;
      return LATHE_OK;
    }
    dlclose(handle);
    int next = fcntl(fd, F_DUPFD_CLOEXEC, current + 1);
    if (current != fd) {
      close(current);
    }
    current = next;
    if (next < 0 || i + 1 == ATTEMPTS) {
      lathe_fail(LATHE_ERROR_LOAD, "\"%s\" cannot be loaded: no name for it is free", name);
      break;
    }
  }
  if (current >= 0 && current != fd) {
    close(current);
  }
  return LATHE_ERROR_LOAD;
}

/* The loader has a lock of its own, but tools that look for data races do not see it: without ours they take
 * memory that one thread unloaded and another one's artifact was mapped to for shared. */
static pthread_mutex_t loader = PTHREAD_MUTEX_INITIALIZER;

lathe_error_code lathe_load(int fd, const char *name, const struct lathe_elf_view *view,
                            const struct lathe_artifact *artifact, void **library, const uint8_t **base) {
  pthread_mutex_lock(&loader);
  lathe_error_code code = load(fd, name, view, artifact, library, base);
  pthread_mutex_unlock(&loader);
  return code;
}

void lathe_unload(void *library) {
  if (library) {
    pthread_mutex_lock(&loader);
    dlclose(library);
    pthread_mutex_unlock(&loader);
  }
}

/* The loader puts weights where the linker said. Where address and file offset agree up to 2 MiB instead, the
 * system maps its large pages whole: 90 MiB in 0.1 ms and not 4, and kernels miss the TLB less. */
const uint8_t *lathe_map_weights(int fd, uint64_t offset, uint64_t bytes, struct lathe_weights_map *map) {
  const uint64_t huge = UINT64_C(2) << 20;
  uint64_t room = bytes + 2 * huge;
  map->data = NULL;
  if (bytes < huge || room < bytes || offset % 4096 != 0) {
    return NULL;
  }
  uint8_t *place = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) {
    return NULL;
  }
  uint8_t *start = place + (huge - (uintptr_t)place % huge) % huge + offset % huge;
  if (mmap(start, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED) {
    munmap(place, room);
    return NULL;
  }
  /* What is not in memory yet is read in large pages. It may fail, small ones serve. */
  madvise(start, bytes, MADV_HUGEPAGE);
  map->data = place;
  map->bytes = room;
  return start;
}
