/* Instructions of PTX that are not one operator of C. */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;

/* Registers of numbers and of bits. */
static u64 bits_f64(f64 value) { u64 bits; memcpy(&bits, &value, 8); return bits; }
static f64 f64_bits(u64 bits) { f64 value; memcpy(&value, &bits, 8); return value; }
static u32 bits_f32(f32 value) { u32 bits; memcpy(&bits, &value, 4); return bits; }
static f32 f32_bits(u32 bits) { f32 value; memcpy(&value, &bits, 4); return value; }

/* Shifts by more than the width are defined in PTX. */
static u16 shl_b16(u16 a, u32 n) { return n > 15 ? 0 : (u16)(a << n); }
static u32 shl_b32(u32 a, u32 n) { return n > 31 ? 0 : a << n; }
static u64 shl_b64(u64 a, u32 n) { return n > 63 ? 0 : a << n; }
static u16 shr_u16(u16 a, u32 n) { return n > 15 ? 0 : a >> n; }
static u32 shr_u32(u32 a, u32 n) { return n > 31 ? 0 : a >> n; }
static u64 shr_u64(u64 a, u32 n) { return n > 63 ? 0 : a >> n; }
static u16 shr_s16(u16 a, u32 n) { return (u16)((s16)a >> (n > 15 ? 15 : n)); }
static u32 shr_s32(u32 a, u32 n) { return (u32)((s32)a >> (n > 31 ? 31 : n)); }
static u64 shr_s64(u64 a, u32 n) { return (u64)((s64)a >> (n > 63 ? 63 : n)); }

/* Division by zero has no defined result; the kernels must not divide so. */
static void report(const char *what, u64 address, int line);
static int divisible(u64 divisor, int line) {
  if (!divisor) report("division by zero", 0, line);
  return divisor != 0;
}
static u64 div_s(s64 a, s64 b, int line) { return !divisible(b, line) ? 0 : b == -1 ? 0 - (u64)a : (u64)(a / b); }
static u64 rem_s(s64 a, s64 b, int line) { return !divisible(b, line) || b == -1 ? 0 : (u64)(a % b); }
static u64 div_u(u64 a, u64 b, int line) { return divisible(b, line) ? a / b : 0; }
static u64 rem_u(u64 a, u64 b, int line) { return divisible(b, line) ? a % b : 0; }

/* Of two numbers of which one is NaN, the other one. */
static f64 min_f64(f64 a, f64 b) { return isnan(a) ? b : isnan(b) ? a : a < b ? a : b; }
static f64 max_f64(f64 a, f64 b) { return isnan(a) ? b : isnan(b) ? a : a > b ? a : b; }

/* Conversions saturate. */
static s64 s64_f64(f64 value) {
  if (isnan(value)) return INT64_MIN;
  return value >= 0x1p63 ? INT64_MAX : value < -0x1p63 ? INT64_MIN : (s64)value;
}
static u64 u64_f64(f64 value) {
  if (isnan(value)) return 1ull << 63;
  return value >= 0x1p64 ? UINT64_MAX : value <= 0 ? 0 : (u64)value;
}
static s32 s32_f64(f64 value) {
  if (isnan(value)) return 0;
  return value >= 0x1p31 ? INT32_MAX : value < -0x1p31 ? INT32_MIN : (s32)value;
}

/* Insert the low `length` bits of `a` into `b` at `position`. */
static u64 bfi_b64(u64 a, u64 b, u32 position, u32 length) {
  position &= 255, length &= 255;
  u64 low = length > 63 ? ~0ull : (1ull << length) - 1;
  return (b & ~shl_b64(low, position)) | shl_b64(a & low, position);
}

/* Choose four of the eight bytes of two registers; the highest bit of a selector repeats the byte's sign. */
static u32 prmt_b32(u32 a, u32 b, u32 selectors) {
  u64 bytes = (u64)b << 32 | a;
  u32 value = 0;
  for (int i = 0; i < 4; i++) {
    u32 selector = selectors >> 4 * i & 15, byte = (u8)(bytes >> 8 * (selector & 7));
    if (selector & 8) byte = byte & 128 ? 255 : 0;
    value |= byte << 8 * i;
  }
  return value;
}
