"""A pooling operator in JAX: arrays come and go by DLPack, gradients by custom_vjp.

    python examples/python/jax_pool.py
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import tidepool.numpy as tn


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def soft_pool(x, kernel):
    shape = tn.output_shape(x.shape, "soft", kernel=kernel)
    return jax.pure_callback(
        lambda x: tn.pool(np.from_dlpack(x), "soft", kernel=kernel), jax.ShapeDtypeStruct(shape, x.dtype), x
    )


def forward(x, kernel):
    return soft_pool(x, kernel), x


def backward(kernel, x, dy):
    def call(dy, x):
        return tn.pool_backward(np.from_dlpack(dy), np.from_dlpack(x), "soft", kernel=kernel)[0]

    return (jax.pure_callback(call, jax.ShapeDtypeStruct(x.shape, x.dtype), dy, x),)


soft_pool.defvjp(forward, backward)


def main():
    x = jax.random.normal(jax.random.PRNGKey(0), (2, 3, 8, 8))
    y, gradient = jax.value_and_grad(lambda x: jnp.sum(soft_pool(x, 2) ** 2))(x)
    step = 1e-2 * jax.random.normal(jax.random.PRNGKey(1), x.shape)
    difference = jnp.sum(soft_pool(x + step, 2) ** 2) - jnp.sum(soft_pool(x - step, 2) ** 2)
    assert abs(difference - 2 * jnp.sum(gradient * step)) < 1e-2 * abs(difference) + 1e-3
    print("sum of squares", y, "gradient", gradient.shape)


if __name__ == "__main__":
    main()
