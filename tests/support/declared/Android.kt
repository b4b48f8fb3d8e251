// What Android has, as far as the Kotlin sample names it.
package android.content.res

class AssetManager
