"""The shader of the raw Vulkan peer: ``a[i] = 1`` in blocks of 256, the address of ``a`` in the push constants.

Made once by ``spirv-as --target-env vulkan1.2`` (SPIRV-Tools 2023.1) from :data:`SOURCE`; ``spirv-val`` accepts it.
"""

from __future__ import annotations

from typing import Final

SOURCE: Final = """
            OpCapability Shader
            OpCapability PhysicalStorageBufferAddresses
            OpMemoryModel PhysicalStorageBuffer64 GLSL450
            OpEntryPoint GLCompute %main "main" %gid %args
            OpExecutionMode %main LocalSize 256 1 1
            OpDecorate %gid BuiltIn GlobalInvocationId
            OpDecorate %block Block
            OpMemberDecorate %block 0 Offset 0
            OpDecorate %floats ArrayStride 4
            OpDecorate %data Block
            OpMemberDecorate %data 0 Offset 0
    %void = OpTypeVoid
      %fn = OpTypeFunction %void
    %uint = OpTypeInt 32 0
   %float = OpTypeFloat 32
      %v3 = OpTypeVector %uint 3
   %inptr = OpTypePointer Input %v3
   %inone = OpTypePointer Input %uint
  %floats = OpTypeRuntimeArray %float
    %data = OpTypeStruct %floats
 %dataptr = OpTypePointer PhysicalStorageBuffer %data
  %oneptr = OpTypePointer PhysicalStorageBuffer %float
   %block = OpTypeStruct %dataptr
%blockptr = OpTypePointer PushConstant %block
  %argptr = OpTypePointer PushConstant %dataptr
       %0 = OpConstant %uint 0
     %one = OpConstant %float 1
     %gid = OpVariable %inptr Input
    %args = OpVariable %blockptr PushConstant
    %main = OpFunction %void None %fn
   %entry = OpLabel
      %ix = OpAccessChain %inone %gid %0
       %i = OpLoad %uint %ix
      %pp = OpAccessChain %argptr %args %0
       %p = OpLoad %dataptr %pp
       %e = OpAccessChain %oneptr %p %0 %i
            OpStore %e %one Aligned 4
            OpReturn
            OpFunctionEnd
"""

ONE: Final = bytes.fromhex(
    "0302230700050100000007001a00000000000000110002000100000011000200e31400000e000300e4140000010000000f00070005000000"
    "010000006d61696e00000000020000000300000010000600010000001100000000010000010000000100000047000400020000000b000000"
    "1c00000047000300040000000200000048000500040000000000000023000000000000004700040005000000060000000400000047000300"
    "0600000002000000480005000600000000000000230000000000000013000200070000002100030008000000070000001500040009000000"
    "2000000000000000160003000a00000020000000170004000b0000000900000003000000200004000c000000010000000b00000020000400"
    "0d00000001000000090000001d000300050000000a0000001e0003000600000005000000200004000e000000e51400000600000020000400"
    "0f000000e51400000a0000001e000300040000000e000000200004001000000009000000040000002000040011000000090000000e000000"
    "2b0004000900000012000000000000002b0004000a000000130000000000803f3b0004000c00000002000000010000003b00040010000000"
    "03000000090000003600050007000000010000000000000008000000f800020014000000410005000d000000150000000200000012000000"
    "3d00040009000000160000001500000041000500110000001700000003000000120000003d0004000e000000180000001700000041000600"
    "0f000000190000001800000012000000160000003e00050019000000130000000200000004000000fd00010038000100"
)
