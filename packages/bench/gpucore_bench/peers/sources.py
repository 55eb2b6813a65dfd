"""The kernels of the works in CUDA C++, as users of CuPy would write them."""

from __future__ import annotations

NBODY = r"""
extern "C" __global__ void nbody(const float* p, float* a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float x = p[i], y = p[n + i], z = p[2 * n + i], ax = 0, ay = 0, az = 0;
  for (int j = 0; j < n; ++j) {
    float dx = p[j] - x, dy = p[n + j] - y, dz = p[2 * n + j] - z;
    float d2 = dx * dx + dy * dy + dz * dz + 0.01f;
    float inverse = 1.0f / sqrtf(d2), w = p[3 * n + j] * inverse * inverse * inverse;
    ax += w * dx; ay += w * dy; az += w * dz;
  }
  a[i] = ax; a[n + i] = ay; a[2 * n + i] = az;
}
"""

MANDELBROT = r"""
extern "C" __global__ void mandelbrot(int* out, int height, int width, int limit) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  float cr = x * (3.0f / width) - 2.2f, ci = y * (2.4f / height) - 1.2f, zr = 0, zi = 0;
  int n = 0;
  while (n < limit && zr * zr + zi * zi <= 4.0f) { float t = zr * zr - zi * zi + cr; zi = 2.0f * zr * zi + ci; zr = t; ++n; }
  out[(size_t)y * width + x] = n;
}
"""

STENCIL = r"""
extern "C" __global__ void stencil(const float* x, float* y, int rows, int columns) {
  int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y;
  if (r < 1 || r >= rows - 1 || c < 1 || c >= columns - 1) return;
  size_t i = (size_t)r * columns + c;
  y[i] = 0.2f * (x[i] + x[i - columns] + x[i + columns] + x[i - 1] + x[i + 1]);
}
"""

BLACK_SCHOLES = r"""
__device__ float cdf(float d) {
  float k = 1.0f / (1.0f + 0.2316419f * fabsf(d));
  float poly = k * (0.31938153f + k * (-0.356563782f + k * (1.781477937f + k * (-1.821255978f + k * 1.330274429f))));
  float tail = 0.39894228040143267f * expf(-0.5f * d * d) * poly;
  return d > 0.0f ? 1.0f - tail : tail;
}
extern "C" __global__ void black_scholes(
    const float* price, const float* strike, const float* years, float* call, float rate, float sigma, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float root = sqrtf(years[i]);
  float d1 = (logf(price[i] / strike[i]) + (rate + 0.5f * sigma * sigma) * years[i]) / (sigma * root);
  float d2 = d1 - sigma * root;
  call[i] = price[i] * cdf(d1) - strike[i] * expf(-rate * years[i]) * cdf(d2);
}
"""
