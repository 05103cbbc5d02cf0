/* The levels are those of the processor, as the operating system lists its instructions: whichever compiler built the
 * core, and whatever its runtime knows of them. */
#include "check.h"

#if defined(__x86_64__) && defined(__linux__)
/* Does the first line of flags in /proc/cpuinfo hold all these words? -1: there is no such line. */
static int listed(const char *words) {
    char line[8192], name[64];
    FILE *file = fopen("/proc/cpuinfo", "r");
    int all = -1, length;
    while (file && all < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, "flags", 5) || !strchr(line, '\n')) continue;
        *strchr(line, '\n') = ' ';
        for (all = 1; sscanf(words, " %60s%n", name + 1, &length) == 1; words += length) {
            name[0] = ' ';
            all &= strstr(line, strcat(name, " ")) != NULL;
        }
    }
    if (file) fclose(file);
    return all;
}

static const struct {
    const char *level, *needs;
} LEVELS[] = {{"avx512", "avx512f avx512bw avx512dq avx512vl avx2 fma"}, {"avx2", "avx2 fma"}};

static void levels_are_those_that_the_system_lists(void) {
    const char *names[4];
    int n = fbp_cpu_levels(names), expected = 0;
    for (int i = 0; i < 2; i++) {
        int has = listed(LEVELS[i].needs);
        if (has < 0) {
            printf("cpu: /proc/cpuinfo lists no flags here, levels are not checked\n");
            return;
        }
        if (has) {
            CHECK(expected < n && strcmp(names[expected], LEVELS[i].level) == 0, "%s is missing", LEVELS[i].level);
            expected++;
        }
    }
    CHECK(n == expected + 1, "%d levels, not %d", n, expected + 1);
}
#else
static void levels_are_those_that_the_system_lists(void) {}
#endif

static void the_baseline_is_everywhere(void) {
    const char *names[4];
    int n = fbp_cpu_levels(names);
    CHECK(n >= 1 && n <= 4 && strcmp(names[n - 1], "baseline") == 0, "%d levels", n);
    for (int i = 0; i < n; i++) printf("cpu: %s\n", names[i]);
}

int main(void) {
    unsetenv("FASTBP_DISABLE_CPU");
    levels_are_those_that_the_system_lists();
    the_baseline_is_everywhere();
    return check_report("cpu");
}
