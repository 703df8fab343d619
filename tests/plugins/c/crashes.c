// Crashes for tests/suite/internals/crash.rs. Not a plugin: the test calls the functions by name.
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// Each caller does something after its call, so that the compiler makes no tail call.
static volatile int work;

void write_nowhere(void) {
    *(volatile int *)16 = 1;
    work++;
}

void give_up(void) {
    abort();
}

int divide(void) {
    return 7 / work;
}

int use_up_the_stack(int depth) {
    volatile char frame[256];
    memset((char *)frame, depth, sizeof frame);
    if (work < 0) {
        return 0;
    }
    return use_up_the_stack(depth + 1) + frame[depth % 256];
}

void call_null(void) {
    void (*volatile nothing)(void) = NULL;
    nothing();
    work++;
}

static void *on_a_thread(void *unused) {
    write_nowhere();
    return unused;
}

void start_a_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, on_a_thread, NULL);
    pthread_join(thread, NULL);
}

// Crashes in another process.
void fork_and_exit(void) {
    pid_t child = fork();
    if (child == 0) {
        abort();
    }
    int status;
    waitpid(child, &status, 0);
    _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? 0 : 1);
}

#ifdef __x86_64__
// The stack pointer is invalid, so the crash handler crashes when it reads the stack.
void lose_the_stack(void) {
    __asm__ volatile("mov $4096, %rsp\n\tmov $4096, %rbp\n\tpush %rax");
}

// The same with tkill(gettid(), SIGABRT), a signal other than the one that kills the crash handler.
void abort_without_a_stack(void) {
    __asm__ volatile("mov $4096, %rsp\n\tmov $4096, %rbp\n\t"
                     "mov $186, %eax\n\tsyscall\n\t"
                     "mov %eax, %edi\n\tmov $6, %esi\n\tmov $200, %eax\n\tsyscall");
}
#endif
