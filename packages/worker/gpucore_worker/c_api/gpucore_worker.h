/* The fourteen functions of gpucore-worker for C and C++; docs/worker.md tells what each does.
 *
 * Each function but gcw_error_message and gcw_last_error returns a code, 0 where all went well. Handles are numbers; one that was given
 * back, or never was one, is refused with code 5. Any thread may call any function. The library starts Python at the first call.
 * Texts are UTF-8 and end with a zero byte.
 */
#ifndef GPUCORE_WORKER_H
#define GPUCORE_WORKER_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* --- declarations */

typedef uint64_t gcw_handle;

typedef struct {
    uint64_t weights;
    uint64_t kv_cache;
    uint64_t activations;
} gcw_memory;

/* Open a device: a selector such as "cuda:0", or NULL for the default. */
int32_t gcw_init(const char *device, gcw_handle *session);
/* Close a session, with all that is on it. */
int32_t gcw_destroy(gcw_handle session);
int32_t gcw_device_count(int32_t *count);

/* Load a GGUF file; nbytes is of its weights on the device. */
int32_t gcw_load_model(gcw_handle session, const char *path, gcw_handle *model, uint64_t *nbytes);
int32_t gcw_unload_model(gcw_handle model);
int32_t gcw_model_memory(gcw_handle model, gcw_memory *memory);

int32_t gcw_inference_start(gcw_handle model, const char *prompt, int32_t max_tokens, double temperature, uint64_t seed,
                            gcw_handle *inference);
/* The text that the next token adds. length is in bytes, without the zero byte; done is 1 behind the last. Where the buffer is too
 * small nothing is written, length says what is needed, the code is 5, and the next call gives the same text. */
int32_t gcw_next_token(gcw_handle inference, char *text, size_t capacity, size_t *length, int32_t *done);
int32_t gcw_inference_free(gcw_handle inference);

/* Compare every weight on the device with the file: code 7 where one differs. */
int32_t gcw_check_residency(gcw_handle model);
int32_t gcw_memory_used(gcw_handle session, uint64_t *nbytes);
int32_t gcw_process_memory(gcw_handle session, uint64_t *nbytes);
int32_t gcw_device_health(gcw_handle session, int32_t *ok);

/* What a code means, for ever. */
const char *gcw_error_message(int32_t code);
/* What went wrong in this thread's last call that did not return 0, until its next one. */
const char *gcw_last_error(void);

/* --- end of declarations */
#ifdef __cplusplus
}
#endif
#endif
