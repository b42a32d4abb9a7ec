/* CRC-32 as zlib computes it (reflected 0xEDB88320), by carry-less multiplication where the processor has it.
 *
 * Folding after Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009).
 */
#ifndef VAULTAK_CRC32_H
#define VAULTAK_CRC32_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

#ifdef VAULTAK_SHA256
static uint32_t crc32_table[256];

static void crc32_prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc32_table[i] = c;
    }
}

static uint32_t crc32_bytes(uint32_t crc, const uint8_t *data, size_t size) {
    for (; size; size--) crc = crc32_table[(crc ^ *data++) & 0xff] ^ (crc >> 8);
    return crc;
}

static int crc32_available(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 1)) && (c & (1u << 19)); /* PCLMULQDQ, SSE4.1 */
}

#define CRC32_FOLD(x, k, with)                                                                              \
    _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), (with))
#define CRC32_LOAD(at) _mm_loadu_si128((const __m128i *)(at))

/* A multiple of 16 bytes, at least 64. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t crc32_folded(uint32_t crc, const uint8_t *data, size_t size) {
    const __m128i by_4 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    const __m128i by_1 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i low = _mm_setr_epi32(~0, 0, ~0, 0);
    __m128i x1 = _mm_xor_si128(CRC32_LOAD(data), _mm_cvtsi32_si128((int)crc));
    __m128i x2 = CRC32_LOAD(data + 16), x3 = CRC32_LOAD(data + 32), x4 = CRC32_LOAD(data + 48);
    for (data += 64, size -= 64; size >= 64; data += 64, size -= 64) {
        x1 = CRC32_FOLD(x1, by_4, CRC32_LOAD(data));
        x2 = CRC32_FOLD(x2, by_4, CRC32_LOAD(data + 16));
        x3 = CRC32_FOLD(x3, by_4, CRC32_LOAD(data + 32));
        x4 = CRC32_FOLD(x4, by_4, CRC32_LOAD(data + 48));
    }
    x1 = CRC32_FOLD(x1, by_1, x2);
    x1 = CRC32_FOLD(x1, by_1, x3);
    x1 = CRC32_FOLD(x1, by_1, x4);
    for (; size >= 16; data += 16, size -= 16) x1 = CRC32_FOLD(x1, by_1, CRC32_LOAD(data));
    /* 128 bits to 64, to 32 (Barrett). */
    x2 = _mm_clmulepi64_si128(x1, by_1, 0x10);
    x1 = _mm_xor_si128(_mm_srli_si128(x1, 8), x2);
    x2 = _mm_srli_si128(x1, 4);
    x1 = _mm_clmulepi64_si128(_mm_and_si128(x1, low), _mm_set_epi64x(0, 0x163cd6124), 0x00);
    x1 = _mm_xor_si128(x1, x2);
    const __m128i poly = _mm_set_epi64x(0x1f7011641, 0x1db710641);
    x2 = _mm_clmulepi64_si128(_mm_and_si128(x1, low), poly, 0x10);
    x2 = _mm_clmulepi64_si128(_mm_and_si128(x2, low), poly, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(x1, x2), 1);
}

static uint32_t crc32_of(const uint8_t *data, size_t size) {
    uint32_t crc = 0xffffffffu;
    if (size >= 64) {
        size_t folded = size & ~(size_t)15;
        crc = crc32_folded(crc, data, folded);
        data += folded;
        size -= folded;
    }
    return ~crc32_bytes(crc, data, size);
}
#endif
#endif
