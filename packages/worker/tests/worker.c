/* Answers a prompt, meets errors, and gives all back: what the test of the C ABI compiles. */
#include <stdio.h>
#include <string.h>

#include "gpucore_worker.h"

#define MUST(call) \
    do { \
        int32_t code = (call); \
        if (code) { \
            fprintf(stderr, "%s: %d, %s: %s\n", #call, code, gcw_error_message(code), gcw_last_error()); \
            return 1; \
        } \
    } while (0)

int main(int argc, char **argv)
{
    gcw_handle session, model, inference;
    gcw_memory memory;
    uint64_t nbytes, before, after;
    int32_t count, done = 0, code, tokens = 0;
    size_t length;
    char text[256];

    if (argc != 3)
        return 2;
    MUST(gcw_device_count(&count));
    MUST(gcw_init("cpu", &session));
    MUST(gcw_memory_used(session, &before));
    MUST(gcw_load_model(session, argv[1], &model, &nbytes));
    MUST(gcw_check_residency(model));
    MUST(gcw_inference_start(model, argv[2], 8, 0.0, 0, &inference));
    code = gcw_next_token(inference, text, 0, &length, &done);
    printf("no room: %d %s\n", code, strstr(gcw_last_error(), "buffer holds 0 bytes") ? "said" : gcw_last_error());
    printf("text: ");
    for (;;) {
        MUST(gcw_next_token(inference, text, sizeof text, &length, &done));
        if (done)
            break;
        if (strlen(text) != length)
            return 3;
        tokens++;
        printf("%s", text);
    }
    printf("\n");
    MUST(gcw_model_memory(model, &memory));
    printf("memory: %d %d %d\n", memory.weights == nbytes, memory.kv_cache > 0, memory.activations > 0);
    MUST(gcw_inference_free(inference));
    printf("freed: %d\n", gcw_next_token(inference, text, sizeof text, &length, &done));
    printf("no file: %d\n", gcw_load_model(session, "/nowhere.gguf", &model, &nbytes));
    printf("NULL: %d %d\n", gcw_load_model(session, NULL, &model, &nbytes), gcw_memory_used(session, NULL));
    printf("device: %d\n", gcw_init("cpu:77", &inference));
    printf("too long: %d\n", gcw_inference_start(model, argv[2], 100000, 0.0, 0, &inference));
    printf("message: %s\n", gcw_error_message(5));
    MUST(gcw_unload_model(model));
    printf("unloaded: %d\n", gcw_model_memory(model, &memory));
    MUST(gcw_memory_used(session, &after));
    printf("memory back: %d\n", before == after);
    MUST(gcw_destroy(session));
    printf("destroyed: %d\n", gcw_memory_used(session, &after));
    return tokens == 0 || count < 1;
}
