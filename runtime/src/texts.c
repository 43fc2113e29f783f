/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Texts and their numbers. */
#include "session.h"

#include <string.h>

enum { CHUNK_BYTES = 1 << 16, FIRST_INDEX = 64 };

static struct lathe_text *entries_of(const lathe_session_t *session) {
  return (struct lathe_text *)(void *)session->texts.entries.data;
}

static uint64_t *index_of(const lathe_session_t *session) {
  return (uint64_t *)(void *)session->texts.index.data;
}

static uint64_t index_size(const lathe_session_t *session) {
  return session->texts.index.bytes / sizeof(uint64_t);
}

/* FNV-1a. */
static uint64_t hash_of(const char *text, uint64_t count) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (uint64_t i = 0; i < count; ++i) {
    hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
  }
  return hash;
}

/* -- The hash table
 * ------------------------------------------------------------------------------------------- */

/* Where a text stands in the table, or the empty place where it would. There is one. */
static uint64_t find_place(const lathe_session_t *session, const char *text, uint64_t count, uint64_t hash) {
  const uint64_t *index = index_of(session);
  uint64_t mask = index_size(session) - 1, place = hash & mask;
  for (;; place = (place + 1) & mask) {
    const struct lathe_text *entry = index[place] ? &entries_of(session)[index[place] - 1] : NULL;
    if (!entry || (entry->hash == hash && entry->count == count && memcmp(entry->bytes, text, count) == 0)) {
      return place;
    }
  }
}

/* Makes room for a text more; the table stays at most half full. */
static lathe_error_code make_room(lathe_session_t *session) {
  struct lathe_texts *texts = &session->texts;
  uint64_t room = texts->entries.bytes / sizeof(struct lathe_text);
  lathe_error_code code =
      texts->count < room
          ? LATHE_OK
          : lathe_session_grow(session, &texts->entries, (texts->count + 1) * sizeof(struct lathe_text),
                               texts->count * sizeof(struct lathe_text), "texts");
  if (code || 2 * (texts->count + 1) <= index_size(session)) {
    return code;
  }
  uint64_t size = index_size(session) ? 2 * index_size(session) : FIRST_INDEX;
  if ((code = lathe_session_grow(session, &texts->index, size * sizeof(uint64_t), 0, "texts"))) {
    texts->count = texts->kept = 0; /* what is not found is not known */
    return code;
  }
  memset(texts->index.data, 0, texts->index.bytes);
  /* In the order of the numbers, so that the last ones can be taken out again. */
  for (uint64_t i = 0; i < texts->count; ++i) {
    const struct lathe_text *entry = &entries_of(session)[i];
    index_of(session)[find_place(session, entry->bytes, entry->count, entry->hash)] = i + 1;
  }
  return LATHE_OK;
}

/* Adds a text that is not known, whose bytes stay where they are. */
static lathe_error_code add_entry(lathe_session_t *session, const char *text, uint64_t count, uint64_t hash) {
  lathe_error_code code = make_room(session);
  if (code) {
    return code;
  }
  struct lathe_texts *texts = &session->texts;
  index_of(session)[find_place(session, text, count, hash)] = texts->count + 1;
  entries_of(session)[texts->count++] = (struct lathe_text){text, count, hash};
  return LATHE_OK;
}

/* Forgets the texts from number `count` on. */
static void truncate_to(lathe_session_t *session, uint64_t count) {
  struct lathe_texts *texts = &session->texts;
  /* The last text that came ends its run of places: taking it out leaves no gap in another's. */
  while (texts->count > count) {
    const struct lathe_text *entry = &entries_of(session)[texts->count - 1];
    index_of(session)[find_place(session, entry->bytes, entry->count, entry->hash)] = 0;
    --texts->count;
  }
}

/* -- Bytes
 * ---------------------------------------------------------------------------------------------------- */

static void release_chunks(lathe_session_t *session, struct lathe_text_chunk **list) {
  while (*list) {
    struct lathe_text_chunk *chunk = *list;
    *list = chunk->next;
    session->texts.chunk_bytes -= sizeof *chunk + chunk->bytes;
    lathe_release(&session->allocator, chunk, sizeof *chunk + chunk->bytes);
  }
}

/* Forgets the texts of a list of chunks; the first keeps its memory for those to come. */
static void reset_chunks(lathe_session_t *session, struct lathe_text_chunk **list) {
  if (*list) {
    release_chunks(session, &(*list)->next);
    (*list)->used = 0;
  }
}

/* A copy of some bytes in a list of chunks, or null. */
static const char *copy_bytes(lathe_session_t *session, struct lathe_text_chunk **list, const char *text,
                              uint64_t count) {
  struct lathe_text_chunk *chunk = *list;
  if (!chunk || chunk->bytes - chunk->used < count) {
    uint64_t bytes = count > CHUNK_BYTES ? count : CHUNK_BYTES, held = lathe_session_memory(session);
    if (held > session->memory_limit || sizeof *chunk + bytes > session->memory_limit - held) {
      lathe_fail(LATHE_ERROR_MEMORY,
                 "no memory for texts (%llu bytes): the session would exceed its limit, %llu",
                 (unsigned long long)bytes, (unsigned long long)session->memory_limit);
      return NULL;
    }
    chunk = lathe_allocate(&session->allocator, sizeof *chunk + bytes, 16);
    if (!chunk) {
      lathe_fail(LATHE_ERROR_MEMORY, "no memory for texts (%llu bytes)", (unsigned long long)bytes);
      return NULL;
    }
    *chunk = (struct lathe_text_chunk){*list, bytes, 0};
    session->texts.chunk_bytes += sizeof *chunk + bytes;
    *list = chunk;
  }
  char *copy = (char *)(chunk + 1) + chunk->used;
  memcpy(copy, text, count);
  chunk->used += count;
  return copy;
}

/* -- Numbers
 * -------------------------------------------------------------------------------------------------- */

/* The texts of the model get their numbers first. */
static lathe_error_code begin(lathe_session_t *session) {
  const struct lathe_table *table = session->model->table;
  uint32_t own = lathe_table_text_count(table);
  const struct lathe_text_info *infos = own ? lathe_model_at(session->model, table->texts) : NULL;
  for (uint64_t i = session->texts.count; i < own; ++i) {
    const char *text = lathe_model_at(session->model, infos[i].text);
    lathe_error_code code = add_entry(session, text, infos[i].bytes, hash_of(text, infos[i].bytes));
    if (code) {
      return code;
    }
    session->texts.kept = session->texts.count;
  }
  return LATHE_OK;
}

static lathe_error_code add_text(lathe_session_t *session, struct lathe_text_chunk **list, const char *text,
                                 uint64_t count, int64_t *number) {
  lathe_error_code code = begin(session);
  if (!code && !index_size(session)) {
    code = make_room(session);
  }
  if (code) {
    return code;
  }
  struct lathe_texts *texts = &session->texts;
  uint64_t hash = hash_of(text, count), known = index_of(session)[find_place(session, text, count, hash)];
  *number = (int64_t)(known ? known - 1 : texts->count);
  if (known) {
    return LATHE_OK;
  }
  const char *copy = copy_bytes(session, list, text, count);
  return copy ? add_entry(session, copy, count, hash) : LATHE_ERROR_MEMORY;
}

void lathe_session_begin_texts(lathe_session_t *session) {
  truncate_to(session, session->texts.kept);
  reset_chunks(session, &session->texts.run);
}

int64_t lathe_session_add_run_text(void *context, const char *text, size_t count) {
  lathe_session_t *session = context;
  int64_t number;
  return add_text(session, &session->texts.run, text, count, &number) ? -1 : number;
}

const char *lathe_session_run_text(void *context, int64_t number, size_t *count) {
  const char *text;
  return lathe_session_text(context, number, &text, count) ? NULL : text;
}

lathe_error_code lathe_session_add_text(lathe_session_t *session, const char *text, size_t bytes,
                                        int64_t *number) {
  if (!session || !text || !number) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null",
                      !session ? "session"
                      : !text  ? "text"
                               : "result");
  }
  lathe_session_begin_texts(session);
  lathe_error_code code = add_text(session, &session->texts.host, text, bytes, number);
  session->texts.kept = session->texts.count;
  return code;
}

lathe_error_code lathe_session_text(const lathe_session_t *session, int64_t number, const char **text,
                                    size_t *bytes) {
  if (!session || !text || !bytes) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null", session ? "result" : "session");
  }
  const struct lathe_table *table = session->model->table;
  if (number >= 0 && number < (int64_t)lathe_table_text_count(table)) {
    const struct lathe_text_info *infos = lathe_model_at(session->model, table->texts);
    *text = lathe_model_at(session->model, infos[number].text);
    *bytes = infos[number].bytes;
    return LATHE_OK;
  }
  if (number < 0 || (uint64_t)number >= session->texts.count) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "no text has the number %lld", (long long)number);
  }
  const struct lathe_text *entry = &entries_of(session)[number];
  *text = entry->bytes;
  *bytes = (size_t)entry->count;
  return LATHE_OK;
}

lathe_error_code lathe_session_clear_texts(lathe_session_t *session) {
  if (!session) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the session is null");
  }
  lathe_session_begin_texts(session);
  uint64_t own = lathe_table_text_count(session->model->table);
  truncate_to(session, own < session->texts.count ? own : session->texts.count);
  session->texts.kept = session->texts.count;
  reset_chunks(session, &session->texts.host);
  return LATHE_OK;
}

void lathe_session_release_texts(lathe_session_t *session) {
  release_chunks(session, &session->texts.run);
  release_chunks(session, &session->texts.host);
  lathe_release(&session->allocator, session->texts.entries.data, session->texts.entries.bytes);
  lathe_release(&session->allocator, session->texts.index.data, session->texts.index.bytes);
}
